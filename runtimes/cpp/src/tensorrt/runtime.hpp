// The runtime "trt": TensorRT engines of a bundle's stages, of its fused or of its dense graph.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "pipeline.hpp"
#include "tensorrt/worker.hpp"

namespace trbert::internal {

// Runs requests by TensorRT engines. Each caller has a worker of its own, and workers are kept for the next one.
class TensorRtRuntime : public Runtime {
public:
    // engines: one for each of the pipeline's graphs. shapes: that they were built for.
    TensorRtRuntime(Pipeline pipeline, std::unique_ptr<Device> device, TensorRtEngines engines, ShapeBuckets shapes);
    ~TensorRtRuntime() override;
    Output run(const Request& request, bool want_kept) const override;

private:
    Pipeline pipeline_;
    ShapeBuckets shapes_;
    std::unique_ptr<Device> device_;  // outlives what lies on it
    TensorRtEngines engines_;
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Worker>> free_;
};

// Load a bundle's TensorRT engines onto the first GPU. Throws Error (device, bundle, configuration).
std::unique_ptr<Runtime> open_tensorrt(const Bundle& bundle, const Options& options);

}  // namespace trbert::internal
