// ONNX Runtime: sessions of a bundle's graphs over one thread pool, and running one. With pool and providers the only
// part that knows its API.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <memory>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "runner.hpp"

namespace trbert::internal {

class Pool;

// Settings of a session on this pool, before any provider.
Ort::SessionOptions session_options(const Pool& pool);

// Have CUDA run what no earlier provider takes, without TF32, which is not float32. Throws Error (device).
void use_cuda(Ort::SessionOptions& session);

// Whether this ONNX Runtime was built with a provider, such as "CUDAExecutionProvider".
bool has_provider(const std::string& name);

// Load a graph; it takes and gives what the manifest says, and nothing else. Throws Error (bundle, configuration; where
// a `provider` is named that may be what fails: device).
Ort::Session load_session(Pool& pool, const Bundle& bundle, const GraphFile& graph, const Ort::SessionOptions& options,
                          const std::string& provider = "");

// Where outputs stay that are not read.
Ort::MemoryInfo memory_of(const std::string& device);

// Run a graph. Throws Error (runtime).
Outputs run_session(Ort::Session& session, const GraphFile& graph, Feeds feeds, const IsRead& is_read,
                    const Ort::MemoryInfo& device, const Ort::RunOptions& options = Ort::RunOptions());

// What ONNX Runtime says, without the lines that follow.
std::string first_line(const std::exception& failure);

// Runs graphs, one session each; may be used from several threads at once.
class SessionRunner : public StageRunner {
public:
    // Throws Error (bundle, device, configuration).
    SessionRunner(const Bundle& bundle, const std::vector<GraphFile>& graphs, const Options& options);

    std::vector<Rows> group(std::size_t stage, const Rows& counts, std::int64_t sequences) override;
    Outputs run(std::size_t stage, Feeds feeds, const IsRead& is_read) override;

private:
    std::vector<GraphFile> graphs_;
    std::shared_ptr<Pool> pool_;  // outlives the sessions
    std::vector<Ort::Session> sessions_;
    Ort::MemoryInfo device_;
    std::int64_t group_tokens_;
    Ort::RunOptions run_options_;
};

}  // namespace trbert::internal
