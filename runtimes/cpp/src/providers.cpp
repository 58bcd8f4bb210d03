#include "providers.hpp"

#include <cstdlib>

#include "errors.hpp"
#include "grouping.hpp"
#include "json.hpp"
#include "plans/store.hpp"
#include "pool.hpp"
#include "sessions.hpp"
#include "sha256.hpp"

namespace trbert::internal {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kRowsAGroup = 32;  // at most
constexpr std::int64_t kItems = 64;       // options, sentences or candidates of a row at most

constexpr const char* kTensorRt = "TensorrtExecutionProvider";
constexpr const char* kRtx = "NvTensorRTRTXExecutionProvider";

// What TensorRT leaves over runs on CUDA. Where its library cannot be loaded, appending it fails.
void use_tensorrt(Ort::SessionOptions& session, const Settings& settings) {
    const OrtApi& api = Ort::GetApi();
    OrtTensorRTProviderOptionsV2* made = nullptr;
    Ort::ThrowOnError(api.CreateTensorRTProviderOptions(&made));
    const std::unique_ptr<OrtTensorRTProviderOptionsV2, decltype(api.ReleaseTensorRTProviderOptions)> options(
        made, api.ReleaseTensorRTProviderOptions);
    std::vector<const char*> keys, values;
    for (const auto& [key, value] : settings) {
        keys.push_back(key.c_str());
        values.push_back(value.c_str());
    }
    Ort::ThrowOnError(api.UpdateTensorRTProviderOptions(options.get(), keys.data(), values.data(), keys.size()));
    session.AppendExecutionProvider_TensorRT_V2(*options);
    use_cuda(session);
}

#if ORT_API_VERSION >= 22

// The first GPU that TensorRT-RTX's provider sees, which is a plugin: loaded once an environment.
Ort::ConstEpDevice rtx_device(Ort::Env& environment, const std::string& library) {
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    const auto find = [&] {
        std::vector<Ort::ConstEpDevice> found;
        for (const Ort::ConstEpDevice& device : environment.GetEpDevices())
            if (std::string(device.EpName()) == kRtx) found.push_back(device);
        return found;
    };
    std::vector<Ort::ConstEpDevice> devices = find();
    if (devices.empty()) {
        try {
            environment.RegisterExecutionProviderLibrary(kRtx, fs::u8path(library).native());
        } catch (const Ort::Exception& failure) {
            throw error(ErrorCode::device, "ONNX Runtime does not load " + library + ": " + first_line(failure),
                        "the plugin needs an NVIDIA driver for its CUDA version");
        }
        devices = find();
    }
    if (devices.empty()) {
        throw error(ErrorCode::device, std::string(kRtx) + " sees no GPU that it runs on", "check nvidia-smi");
    }
    return devices.front();
}

void use_rtx_plugin(Ort::Env& environment, Ort::SessionOptions& session, const Settings& settings,
                    const std::string& library) {
    session.AppendExecutionProvider_V2(environment, {rtx_device(environment, library)}, settings);
}

// Fail early where the plugin cannot be had.
void check_rtx_plugin(Ort::Env& environment, const std::string& library) { rtx_device(environment, library); }

#else

[[noreturn]] void refuse_plugin() {
    throw error(ErrorCode::configuration,
                "this library was built with the headers of ONNX Runtime 1." + std::to_string(ORT_API_VERSION) +
                    ", which know no provider plugins",
                "build it with those of 1.22 or later");
}
void use_rtx_plugin(Ort::Env&, Ort::SessionOptions&, const Settings&, const std::string&) { refuse_plugin(); }
void check_rtx_plugin(Ort::Env&, const std::string&) { refuse_plugin(); }

#endif

// An error where the provider cannot be had; nothing runs on the CPU instead.
void require_provider(Pool& pool, const Options& options) {
    if (options.provider == "rtx" && !options.provider_library.empty()) {
        check_rtx_plugin(pool.environment(), options.provider_library);
        return;
    }
    const std::string name = options.provider == "rtx" ? kRtx : kTensorRt;
    if (has_provider(name)) return;
    throw error(ErrorCode::device,
                "provider '" + options.provider + "' was asked for, but this ONNX Runtime has no " + name,
                options.provider == "rtx" ? "name its plugin in provider_library, or link an ONNX Runtime built with it"
                                          : "link ONNX Runtime's GPU build");
}

// Sessions of the provider.
ProviderRunner::Start starter(const Bundle& bundle, Pool& pool, const Options& options) {
    require_provider(pool, options);
    return [&bundle, &pool, options](const Graph& graph, const Settings& settings) {
        Ort::SessionOptions session = session_options(pool);
        const std::string name = options.provider == "rtx" ? kRtx : kTensorRt;
        try {
            if (options.provider == "tensorrt") use_tensorrt(session, settings);
            else if (!options.provider_library.empty())
                use_rtx_plugin(pool.environment(), session, settings, options.provider_library);
            else session.AppendExecutionProvider("NvTensorRtRtx", settings);
        } catch (const Ort::Exception& failure) {
            throw error(ErrorCode::device, "ONNX Runtime could not start " + name + ": " + first_line(failure),
                        "check the driver with nvidia-smi");
        }
        return load_session(pool, bundle, graph, session, name);
    };
}

// Smallest, best or largest shapes as the providers' options take them: "name:1x32,other:1".
std::string shapes_text(const InputAxes& inputs, const Profile& profile, std::size_t which) {
    std::string text;
    for (const auto& [name, axes] : inputs) {
        text += (text.empty() ? "" : ",") + name + ":";
        for (std::size_t place = 0; place < axes.size(); ++place) {
            const Axis& axis = axes[place];
            const Range* range = profile.range(axis.name);
            if (!axis.name.empty() && range == nullptr) {
                throw bundle_error("an input has the axis " + axis.name + ", which no profile knows");
            }
            text += (place > 0 ? "x" : "") + std::to_string(range ? (*range)[which] : axis.size);
        }
    }
    return text;
}

std::string json_of(const Profile& profile) {
    nlohmann::ordered_json axes = nlohmann::ordered_json::object();
    for (const auto& [name, range] : profile.axes) axes[name] = range;
    return nlohmann::ordered_json{{"axes", axes}}.dump();
}

std::vector<std::int64_t> shape_of(const Feed& feed) {
    if (const Ids* array = std::get_if<Ids>(&feed)) return array->shape;
    return std::get<const Held*>(feed)->shape();
}

}  // namespace

Grid provider_grid(const Bundle& bundle) {
    const Buckets buckets = doubling_buckets(bundle.limits.max_length);
    return {buckets, std::vector<Buckets>(bundle.reductions, buckets), kRowsAGroup, kItems};
}

std::vector<Profile> bucket_profiles(const Grid& grid, std::size_t stage, bool restores) {
    std::vector<Profile> profiles;
    for (Profile& profile : stage_profiles(grid, stage, restores)) {
        if ((*profile.range("batch"))[2] != grid.rows) continue;
        for (auto& [name, range] : profile.axes) {
            if (name == "batch" || name == "batch_before") range = {1, grid.rows, grid.rows};
        }
        profiles.push_back(std::move(profile));
    }
    return profiles;
}

Settings provider_settings(const std::string& provider, const InputAxes& axes, const Profile& profile,
                           const fs::path& cache) {
    const std::string prefix = provider == "rtx" ? "nv" : "trt";
    Settings settings{{prefix + "_profile_min_shapes", shapes_text(axes, profile, 0)},
                      {prefix + "_profile_opt_shapes", shapes_text(axes, profile, 1)},
                      {prefix + "_profile_max_shapes", shapes_text(axes, profile, 2)}};
    if (provider == "rtx") {
        settings["nv_runtime_cache_path"] = cache.u8string();
        return settings;
    }
    settings["trt_engine_cache_enable"] = settings["trt_timing_cache_enable"] = "1";
    settings["trt_engine_cache_path"] = cache.u8string();
    settings["trt_timing_cache_path"] = cache.parent_path().u8string();
    return settings;
}

ProviderRunner::ProviderRunner(const Bundle& bundle, const std::vector<Graph>& graphs, const Options& options,
                               const Start& start)
    : bundle_(bundle),
      graphs_(graphs),
      provider_(options.provider),
      folder_(options.engines.empty() ? engines_folder(bundle) : fs::u8path(options.engines)),
      grid_(provider_grid(bundle)),
      pool_(Pool::of_process(options)),
      device_(memory_of(options.device)),
      start_(start ? start : starter(bundle, *pool_, options)) {
    for (std::size_t stage = 0; stage < graphs_.size(); ++stage) {
        profiles_.push_back(bucket_profiles(grid_, stage, bundle.task->restores));
        axes_.push_back(input_axes(*pool_, bundle, graphs_[stage]));
    }
}

std::vector<Rows> ProviderRunner::plan(std::size_t stage, const std::vector<std::int64_t>& counts,
                                       std::int64_t sequences_a_row) {
    return plan_groups(round_up_counts(counts, grid_.tokens(stage)), sequences_a_row, kOverheadTokens, grid_.rows);
}

Outputs ProviderRunner::run(std::size_t stage, Feeds feeds, const IsRead& is_read) {
    Ort::Session& chosen = session(stage, bucket(stage, feeds));
    return run_session(chosen, graphs_[stage], std::move(feeds), is_read, device_);
}

std::vector<Settings> ProviderRunner::settings(std::size_t stage) const {
    std::vector<Settings> all;
    for (std::size_t number = 0; number < profiles_[stage].size(); ++number) all.push_back(settings(stage, number));
    return all;
}

std::size_t ProviderRunner::bucket(std::size_t stage, const Feeds& feeds) const {
    Sizes sizes;
    for (const auto& [name, axes] : axes_[stage]) {
        const std::vector<std::int64_t> shape = shape_of(feeds.at(name));
        for (std::size_t place = 0; place < axes.size(); ++place) {
            if (!axes[place].name.empty()) sizes[axes[place].name] = shape.at(place);
        }
    }
    if (const auto number = choose_profile(profiles_[stage], sizes)) return *number;
    throw error(ErrorCode::input,
                "the TensorRT sessions hold " + std::to_string(kRowsAGroup) + " rows and " + std::to_string(kItems) +
                    " options, sentences or candidates, not " + Json(sizes).dump(),
                "without a provider any shape is taken");
}

// Of this graph, profile, provider, ONNX Runtime and choice of TF32 alone.
fs::path ProviderRunner::cache(std::size_t stage, std::size_t number) const {
    const std::string& graph = graphs_[stage].file;
    const char* tf32 = std::getenv("NVIDIA_TF32_OVERRIDE");
    const std::string what = bundle_.files.at(graph).sha256 + "\n" + json_of(profiles_[stage][number]) + "\n" +
                             OrtGetApiBase()->GetVersionString() + "\n" + (tf32 ? tf32 : "");
    const std::string name = fs::u8path(graph).stem().u8string() + "-" + sha256_of_bytes(what).substr(0, 16);
    return folder_ / ("ort-" + provider_) / fs::u8path(name);
}

Settings ProviderRunner::settings(std::size_t stage, std::size_t number) const {
    return provider_settings(provider_, axes_[stage], profiles_[stage][number], cache(stage, number));
}

Ort::Session& ProviderRunner::session(std::size_t stage, std::size_t number) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto key = std::make_pair(stage, number);
    if (const auto found = sessions_.find(key); found != sessions_.end()) return found->second;
    const fs::path folder = cache(stage, number);
    std::error_code failure;
    fs::create_directories(folder, failure);
    if (failure) {
        throw error(ErrorCode::configuration, folder.string() + " cannot be written: " + failure.message(),
                    "give another folder for engines");
    }
    return sessions_.emplace(key, start_(graphs_[stage], settings(stage, number))).first->second;
}

}  // namespace trbert::internal
