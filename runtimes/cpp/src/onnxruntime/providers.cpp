#include "onnxruntime/providers.hpp"

#include <cstdlib>

#include "core/errors.hpp"
#include "core/json.hpp"
#include "core/sha256.hpp"
#include "onnxruntime/pool.hpp"
#include "onnxruntime/sessions.hpp"
#include "tensorrt_checks.hpp"

namespace trbert::internal {
namespace {

namespace fs = std::filesystem;

// As Python writes it, so that the two use each other's caches.
std::string json_of(const Profile& profile) {
    nlohmann::ordered_json axes = nlohmann::ordered_json::object();
    for (const auto& [name, range] : profile.axes) axes[name] = range;
    return nlohmann::ordered_json{{"axes", axes}}.dump();
}

Shape shape_of(const Feed& feed) {
    if (const Ids* array = std::get_if<Ids>(&feed)) return array->shape;
    return std::get<const Held*>(feed)->shape();
}

}  // namespace

ProviderRunner::ProviderRunner(const Bundle& bundle, const std::vector<GraphFile>& graphs, const Options& options,
                               const StartSession& start)
    : bundle_(bundle),
      graphs_(graphs),
      provider_(options.provider),
      folder_(options.engines.empty() ? tensorrt_engines_folder(bundle) : fs::u8path(options.engines)),
      shapes_(provider_shapes(bundle)),
      pool_(Pool::of_process(options)),
      device_(memory_of(options.device)),
      start_(start ? start : provider_starter(bundle, *pool_, options)) {
    for (std::size_t stage = 0; stage < graphs_.size(); ++stage)
        profiles_.push_back(bucket_profiles(shapes_, stage, bundle.reduction.full_length, own_axes(bundle.task)));
}

std::vector<Rows> ProviderRunner::group(std::size_t stage, const Rows& counts, std::int64_t sequences) {
    return shapes_.group(stage, counts, sequences);
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
    for (const TensorSpec& input : graphs_[stage].inputs) {
        const Shape shape = shape_of(feeds.at(input.name));
        for (std::size_t place = 0; place < input.axes.size(); ++place) {
            if (input.axes[place].varies()) sizes[input.axes[place].name] = shape.at(place);
        }
    }
    if (const auto number = choose_profile(profiles_[stage], sizes)) return *number;
    throw error(ErrorCode::input,
                "the TensorRT sessions hold " + std::to_string(shapes_.rows) + " rows, and " +
                    std::to_string(shapes_.entries) + " entries along an axis of the task's own, not " +
                    Json(sizes).dump(),
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
    return provider_settings(provider_, graphs_[stage].inputs, profiles_[stage][number], cache(stage, number));
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
