// What a provider's session is told: shapes and where to keep what it builds.
#include "core/errors.hpp"
#include "onnxruntime/providers.hpp"

namespace trbert::internal {
namespace {

constexpr std::int64_t kRowsAGroup = 32;  // at most
constexpr std::int64_t kEntries = 64;     // options, sentences or candidates of a row at most

// Smallest, best or largest shapes as the providers' options take them: "name:1x32,other:1".
std::string shapes_text(const std::vector<TensorSpec>& inputs, const Profile& profile, std::size_t which) {
    std::string text;
    for (const TensorSpec& input : inputs) {
        text += (text.empty() ? "" : ",") + input.name + ":";
        for (std::size_t place = 0; place < input.axes.size(); ++place) {
            const Axis& axis = input.axes[place];
            const Range* range = profile.range(axis.name);
            if (axis.varies() && range == nullptr)
                throw bundle_error(input.name + " has the axis " + axis.name + ", which no profile knows");
            text += (place > 0 ? "x" : "") + std::to_string(range ? (*range)[which] : axis.size);
        }
    }
    return text;
}

}  // namespace

ShapeBuckets provider_shapes(const Bundle& bundle) {
    const Buckets buckets = doubling_buckets(bundle.task.max_length);
    return {buckets, std::vector<Buckets>(bundle.reductions(), buckets), kRowsAGroup, kEntries};
}

std::vector<Profile> bucket_profiles(const ShapeBuckets& shapes, std::size_t stage, bool full_length,
                                     const std::vector<std::string>& own) {
    std::vector<Profile> profiles;
    for (Profile& profile : stage_profiles(shapes, stage, full_length, own)) {
        if ((*profile.range(kBatch))[2] != shapes.rows) continue;
        for (auto& [name, range] : profile.axes) {
            if (name == kBatch || name == kBatchBefore) range = {1, shapes.rows, shapes.rows};
        }
        profiles.push_back(std::move(profile));
    }
    return profiles;
}

Settings provider_settings(const std::string& provider, const std::vector<TensorSpec>& inputs, const Profile& profile,
                           const std::filesystem::path& cache) {
    const std::string prefix = provider == "rtx" ? "nv" : "trt";
    Settings settings{{prefix + "_profile_min_shapes", shapes_text(inputs, profile, 0)},
                      {prefix + "_profile_opt_shapes", shapes_text(inputs, profile, 1)},
                      {prefix + "_profile_max_shapes", shapes_text(inputs, profile, 2)}};
    if (provider == "rtx") {
        settings["nv_runtime_cache_path"] = cache.u8string();
        return settings;
    }
    settings["trt_engine_cache_enable"] = settings["trt_timing_cache_enable"] = "1";
    settings["trt_engine_cache_path"] = cache.u8string();
    settings["trt_timing_cache_path"] = cache.parent_path().u8string();
    return settings;
}

}  // namespace trbert::internal
