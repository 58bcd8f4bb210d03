#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include "core/errors.hpp"
#include "trbert/trbert.h"
#include "trbert/trbert.hpp"

struct trbert_engine {
    trbert::Engine engine;
};
struct trbert_output {
    trbert::Output output;
};

namespace {

thread_local std::string message;
thread_local const char* last_error = "";  // the message, or what is said where there is no memory for it

void remember(const char* what) noexcept {
    try {
        message = what;
        last_error = message.c_str();
    } catch (...) {
        last_error = "out of memory";
    }
}

// Run what may throw; no exception leaves the library here.
template <typename Action>
trbert_code guarded(Action action) {
    try {
        action();
        return TRBERT_OK;
    } catch (const trbert::Error& failure) {
        remember(failure.what());
        return static_cast<trbert_code>(failure.code());
    } catch (const std::exception& failure) {
        remember(failure.what());
    } catch (...) {
        remember("unknown error");
    }
    return TRBERT_INTERNAL;
}

void require(bool condition, const char* what) {
    if (!condition) throw trbert::internal::input_error(what);
}

trbert::Mode mode_named(const char* name) {
    const std::string_view wanted = name == nullptr ? "staged" : name;
    if (wanted == "staged") return trbert::Mode::staged;
    if (wanted == "fused") return trbert::Mode::fused;
    if (wanted == "dense") return trbert::Mode::dense;
    throw trbert::internal::error(trbert::ErrorCode::configuration, "unknown mode '" + std::string(wanted) + "'",
                                  "one of: staged, fused, dense");
}

std::vector<std::string> lines_of(std::string_view text) {
    std::vector<std::string> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        if (line.find_first_not_of(" \t\r") != std::string_view::npos) lines.emplace_back(line);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

trbert::Tensor<std::int64_t> tensor_of(const trbert_input& input) {
    require(input.name != nullptr && (input.rank == 0 || input.shape != nullptr), "an input has no name or shape");
    trbert::Tensor<std::int64_t> tensor{{input.shape, input.shape + input.rank}, {}};
    std::size_t size = 1;
    for (const std::int64_t extent : tensor.shape) {
        require(
            extent >= 0 && (extent == 0 || size <= SIZE_MAX / sizeof(std::int64_t) / static_cast<std::size_t>(extent)),
            "the shape of an input is impossible");
        size *= static_cast<std::size_t>(extent);
    }
    require(size == 0 || input.data != nullptr, "an input has no data");
    tensor.data.assign(input.data, input.data + size);
    return tensor;
}

}  // namespace

trbert_code trbert_load(const char* bundle, const trbert_options* options, trbert_engine** engine) {
    return guarded([&] {
        require(bundle != nullptr && engine != nullptr, "trbert_load needs a bundle and a place for the engine");
        trbert::Options chosen;
        if (options != nullptr) {
            chosen.mode = mode_named(options->mode);
            const auto take = [](const char* given, std::string& option) {
                if (given != nullptr) option = given;
            };
            take(options->device, chosen.device);
            take(options->runtime, chosen.runtime);
            take(options->provider, chosen.provider);
            take(options->provider_library, chosen.provider_library);
            take(options->engines, chosen.engines);
            take(options->memory, chosen.memory);
            chosen.group_tokens = options->group_tokens;
            chosen.threads = options->threads;
            chosen.share_pool = options->own_pool == 0;
            chosen.check_sha256 = options->check_sha256 != 0;
        }
        *engine = new trbert_engine{trbert::Engine(bundle, chosen)};
    });
}

void trbert_free(trbert_engine* engine) { delete engine; }

trbert_code trbert_run(const trbert_engine* engine, const trbert_input* inputs, size_t count, int want_kept,
                       trbert_output** output) {
    return guarded([&] {
        require(engine != nullptr && output != nullptr && (count == 0 || inputs != nullptr),
                "trbert_run was given a null pointer");
        trbert::Inputs given;
        for (size_t index = 0; index < count; ++index)
            given[inputs[index].name ? inputs[index].name : ""] = tensor_of(inputs[index]);
        *output = new trbert_output{engine->engine.run(given, want_kept != 0)};
    });
}

trbert_code trbert_output_tensor(const trbert_output* output, const char* name, const float** data,
                                 const int64_t** shape, size_t* rank) {
    return guarded([&] {
        require(output != nullptr && name != nullptr && data != nullptr && shape != nullptr && rank != nullptr,
                "trbert_output_tensor was given a null pointer");
        const auto found = output->output.find(name);
        require(found != output->output.end(), "there is no output of that name");
        *data = found->second.data.data();
        *shape = found->second.shape.data();
        *rank = found->second.shape.size();
    });
}

trbert_code trbert_output_kept(const trbert_output* output, size_t reduction, size_t row, const int64_t** positions,
                               size_t* count) {
    return guarded([&] {
        require(output != nullptr && positions != nullptr && count != nullptr,
                "trbert_output_kept was given a null pointer");
        const auto& kept = output->output.kept;
        require(reduction < kept.size() && row < kept[reduction].size(),
                "there are no kept positions of that reduction and row");
        *positions = kept[reduction][row].data();
        *count = kept[reduction][row].size();
    });
}

void trbert_free_output(trbert_output* output) { delete output; }

trbert_code trbert_predict(const trbert_engine* engine, const char* json_lines, char** answers) {
    return guarded([&] {
        require(engine != nullptr && json_lines != nullptr && answers != nullptr,
                "trbert_predict was given a null pointer");
        std::string text;
        for (const std::string& answer : engine->engine.predict(lines_of(json_lines))) text += answer + "\n";
        char* copy = static_cast<char*>(std::malloc(text.size() + 1));
        if (copy == nullptr) throw std::bad_alloc();
        std::memcpy(copy, text.c_str(), text.size() + 1);
        *answers = copy;
    });
}

void trbert_free_text(char* text) { std::free(text); }

trbert_code trbert_verify(const trbert_engine* engine) {
    return guarded([&] {
        require(engine != nullptr, "trbert_verify was given a null pointer");
        engine->engine.verify().require_passed();
    });
}

const char* trbert_last_error(void) { return last_error; }
const char* trbert_version(void) { return trbert::version(); }
