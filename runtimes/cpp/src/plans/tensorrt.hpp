// CUDA and TensorRT behind the contracts of device.hpp: the only part that knows their APIs. Compiled where the library
// is built with TensorRT.
#pragma once

#include <memory>
#include <string>

#include "plans/device.hpp"
#include "plans/store.hpp"

namespace trbert::internal {

// Which TensorRT was linked: "tensorrt" or "rtx", its version, and the first GPU.
// Throws Error (device) where there is no driver or no GPU; says which.
Here look_here();

// The linked TensorRT's version, as "1.7.1.116".
std::string tensorrt_version();

// The first GPU. Throws Error (device).
std::unique_ptr<Device> open_device();

// An engine on the calling thread's device, from its plan. Throws Error (bundle) where TensorRT does not take the plan.
std::unique_ptr<const StageEngine> load_engine(const EngineHeader& header, const std::string& plan);

}  // namespace trbert::internal
