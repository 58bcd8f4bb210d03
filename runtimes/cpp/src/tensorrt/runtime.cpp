#include "tensorrt/runtime.hpp"

namespace trbert::internal {

TensorRtRuntime::TensorRtRuntime(Pipeline pipeline, std::unique_ptr<Device> device, TensorRtEngines engines,
                                 ShapeBuckets shapes)
    : pipeline_(std::move(pipeline)),
      shapes_(std::move(shapes)),
      device_(std::move(device)),
      engines_(std::move(engines)) {}

TensorRtRuntime::~TensorRtRuntime() = default;

Output TensorRtRuntime::run(const Request& request, bool want_kept) const {
    device_->activate();
    std::unique_ptr<Worker> worker;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!free_.empty()) {
            worker = std::move(free_.back());
            free_.pop_back();
        }
    }
    if (!worker) worker = std::make_unique<Worker>(*device_, engines_, shapes_, request.task());
    // Where a request fails, its worker goes with it: its context or stream may be in any state.
    Output output = pipeline_.run(*worker, request, want_kept);
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(worker));
    return output;
}

}  // namespace trbert::internal
