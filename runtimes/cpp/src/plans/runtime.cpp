#include "plans/runtime.hpp"

#include <set>
#include <string>

namespace trbert::internal {

PlanRuntime::PlanRuntime(Pipeline pipeline, std::unique_ptr<Device> device, Engines engines, Grid grid)
    : pipeline_(std::move(pipeline)),
      grid_(std::move(grid)),
      device_(std::move(device)),
      engines_(std::move(engines)) {}

PlanRuntime::~PlanRuntime() = default;

Output PlanRuntime::answer(const Request& request, bool want_kept) const {
    device_->activate();
    std::unique_ptr<Lane> lane;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!free_.empty()) {
            lane = std::move(free_.back());
            free_.pop_back();
        }
    }
    if (!lane) {
        std::set<std::string> per_token;
        for (const TaskOutput& output : request.task().outputs) {
            if (output.per_token) per_token.insert(output.name);
        }
        lane = std::make_unique<Lane>(*device_, engines_, grid_, std::move(per_token));
    }
    // Where an answer fails, its lane goes with it: its context or stream may be in any state.
    Output output = pipeline_.answer(*lane, request, want_kept);
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(lane));
    return output;
}

}  // namespace trbert::internal
