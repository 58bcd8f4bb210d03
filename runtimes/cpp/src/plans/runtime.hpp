// The runtime "trt": TensorRT engines of a bundle's stages, of its fused or of its dense graph.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "pipeline.hpp"
#include "plans/lane.hpp"

namespace trbert::internal {

// Answers requests by engines. Each caller has a lane of its own, and lanes are kept for the next one.
class PlanRuntime : public Runtime {
public:
    // engines: one for each of the pipeline's graphs. grid: the shapes they were built for.
    PlanRuntime(Pipeline pipeline, std::unique_ptr<Device> device, Engines engines, Grid grid);
    ~PlanRuntime() override;
    Output answer(const Request& request, bool want_kept) const override;

private:
    Pipeline pipeline_;
    Grid grid_;
    std::unique_ptr<Device> device_;  // outlives what lies on it
    Engines engines_;
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Lane>> free_;
};

// Load a bundle's engines onto the first GPU. Throws Error (device, bundle, configuration).
std::unique_ptr<Runtime> open_plans(const Bundle& bundle, const Options& options);

}  // namespace trbert::internal
