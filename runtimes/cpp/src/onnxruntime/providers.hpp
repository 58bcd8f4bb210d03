// ONNX Runtime's TensorRT and TensorRT-RTX providers: a session for each stage and bucket, engines cached on disk. The
// same sessions, options and caches as runtimes/onnxruntime/tensorrt_providers.py.
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

#include "bundle/manifest.hpp"
#include "profiles.hpp"
#include "runner.hpp"

namespace trbert::internal {

class Pool;

using Settings = std::unordered_map<std::string, std::string>;

// Makes a session of a graph.
using StartSession = std::function<Ort::Session(const GraphFile& graph, const Settings& settings)>;

// The shapes that sessions are started for.
ShapeBuckets provider_shapes(const Bundle& bundle);

// One profile for each number of tokens, for any number of rows; see `stage_profiles`.
std::vector<Profile> bucket_profiles(const ShapeBuckets& shapes, std::size_t stage, bool full_length,
                                     const std::vector<std::string>& own);

// Options of a session's provider, "tensorrt" or "rtx". cache: a folder for this graph and profile alone.
Settings provider_settings(const std::string& provider, const std::vector<TensorSpec>& inputs, const Profile& profile,
                           const std::filesystem::path& cache);

// Sessions of the provider that the options name. Throws Error (device, configuration) where it cannot be had.
StartSession provider_starter(const Bundle& bundle, Pool& pool, const Options& options);

// Runs stages, each by the session of the smallest bucket that holds it. Sessions start, and build their engines, when
// a bucket is first met. May be used from several threads at once.
class ProviderRunner : public StageRunner {
public:
    // options: of which provider, device, engines and those of the pool count.
    // start: in tests, what makes a session instead of the provider.
    // Throws Error (bundle, device, configuration).
    ProviderRunner(const Bundle& bundle, const std::vector<GraphFile>& graphs, const Options& options,
                   const StartSession& start = nullptr);

    std::vector<Rows> group(std::size_t stage, const Rows& counts, std::int64_t sequences) override;
    Outputs run(std::size_t stage, Feeds feeds, const IsRead& is_read) override;

    // Of a stage, for each of its buckets.
    std::vector<Settings> settings(std::size_t stage) const;

private:
    std::size_t bucket(std::size_t stage, const Feeds& feeds) const;
    std::filesystem::path cache(std::size_t stage, std::size_t number) const;
    Settings settings(std::size_t stage, std::size_t number) const;
    Ort::Session& session(std::size_t stage, std::size_t number);

    const Bundle& bundle_;
    std::vector<GraphFile> graphs_;
    std::string provider_;
    std::filesystem::path folder_;
    ShapeBuckets shapes_;
    std::vector<std::vector<Profile>> profiles_;  // by stage
    std::shared_ptr<Pool> pool_;                  // outlives the sessions
    Ort::MemoryInfo device_;
    StartSession start_;
    std::mutex mutex_;
    std::map<std::pair<std::size_t, std::size_t>, Ort::Session> sessions_;  // by stage and bucket
};

}  // namespace trbert::internal
