#include "text/decoding.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/errors.hpp"
#include "text/decoders.hpp"

namespace trbert::internal {
namespace {

using Make = Decode (*)(const TaskSpec& task, const Labels& labels);

const std::map<std::string, Make>& decoders() {
    static const std::map<std::string, Make> kinds{{"classes", decode_classes},
                                                   {"choices", decode_choices},
                                                   {"span", decode_span},
                                                   {"span_with_evidence", decode_span_with_evidence},
                                                   {"candidates", decode_candidates},
                                                   {"tokens", decode_tokens}};
    return kinds;
}

}  // namespace

Decoder::Decoder(const TaskSpec& task, const Labels& labels) {
    const std::string& kind = task.decoding.kind;
    const auto make = decoders().find(kind);
    if (make == decoders().end()) {
        std::string known;
        for (const auto& entry : decoders()) known += (known.empty() ? "" : ", ") + entry.first;
        why_not_ = "this release does not decode outputs of the kind '" + kind +
                   "'. upgrade the trbert library, or take the arrays from Engine::run; it decodes " + known;
        return;
    }
    decode_ = make->second(task, labels);
}

void Decoder::require_finite(const Row& row, const Output& output, std::size_t place) {
    std::string broken;
    for (const auto& [name, whole] : output) {
        const std::int64_t per_row = count_of(whole.shape, 1);
        const auto first = whole.data.begin() + static_cast<std::int64_t>(place) * per_row;
        const bool finite = std::all_of(first, first + per_row, [](float value) { return std::isfinite(value); });
        if (!finite) broken += (broken.empty() ? "" : ", ") + name;
    }
    if (broken.empty()) return;
    throw error(
        ErrorCode::runtime, row.name + ": the model's output " + broken + " is not finite",
        "check the bundle on this machine: trbert-deploy verify BUNDLE; where it is float16, export it in fp32");
}

void Decoder::require() const {
    if (!why_not_.empty()) throw Error(ErrorCode::input, why_not_);
}

}  // namespace trbert::internal
