// ONNX Runtime's TensorRT and TensorRT-RTX providers: a session for each stage and bucket, engines cached on disk. The
// same sessions, options and caches as runtimes/tensorrt_providers.py.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "buckets.hpp"
#include "manifest.hpp"
#include "runner.hpp"
#include "sessions.hpp"

namespace trbert::internal {

using Settings = std::unordered_map<std::string, std::string>;

// The shapes that sessions are started for.
Grid provider_grid(const Bundle& bundle);

// One profile for each number of tokens, for any number of rows.
std::vector<Profile> bucket_profiles(const Grid& grid, std::size_t stage, bool restores);

// Options of a session's provider, "tensorrt" or "rtx". cache: a folder for this graph and profile alone.
Settings provider_settings(const std::string& provider, const InputAxes& axes, const Profile& profile,
                           const std::filesystem::path& cache);

// Runs stages, each by the session of the smallest bucket that holds it. Sessions start, and build their engines, when
// a bucket is first met. May be used from several threads at once.
class ProviderRunner : public StageRunner {
public:
    using Start = std::function<Ort::Session(const Graph& graph, const Settings& settings)>;

    // options: of which provider, device, engines and those of the pool count.
    // start: in tests, what makes a session instead of the provider.
    // Throws Error (bundle, device, configuration).
    ProviderRunner(const Bundle& bundle, const std::vector<Graph>& graphs, const Options& options,
                   const Start& start = nullptr);

    std::vector<Rows> plan(std::size_t stage, const std::vector<std::int64_t>& counts,
                           std::int64_t sequences_a_row) override;
    Outputs run(std::size_t stage, Feeds feeds, const IsRead& is_read) override;

    // Of a stage, for each of its buckets.
    std::vector<Settings> settings(std::size_t stage) const;

private:
    std::size_t bucket(std::size_t stage, const Feeds& feeds) const;
    std::filesystem::path cache(std::size_t stage, std::size_t number) const;
    Settings settings(std::size_t stage, std::size_t number) const;
    Ort::Session& session(std::size_t stage, std::size_t number);

    const Bundle& bundle_;
    std::vector<Graph> graphs_;
    std::string provider_;
    std::filesystem::path folder_;
    Grid grid_;
    std::vector<std::vector<Profile>> profiles_;  // by stage
    std::vector<InputAxes> axes_;                 // by stage
    std::shared_ptr<Pool> pool_;                  // outlives the sessions
    Ort::MemoryInfo device_;
    Start start_;
    std::mutex mutex_;
    std::map<std::pair<std::size_t, std::size_t>, Ort::Session> sessions_;  // by stage and bucket
};

}  // namespace trbert::internal
