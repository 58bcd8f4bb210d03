// TensorRT behind the contracts of device.hpp.
#pragma once

#include <memory>
#include <string>

#include "tensorrt/device.hpp"
#include "tensorrt/engine_cache.hpp"

namespace trbert::internal {

// Which TensorRT was linked: "tensorrt" or "rtx", its version, and the first GPU.
// Throws Error (device) where there is no driver or no GPU; says which.
Here look_here();

// The linked TensorRT's version, as "1.7.1.116".
std::string tensorrt_version();

// A TensorRT engine on the calling thread's device, as TensorRT serialized it. Throws Error (bundle) where it does not
// take it.
std::unique_ptr<const TensorRtEngine> load_tensorrt_engine(const TensorRtEngineHeader& header,
                                                           const std::string& serialized);

}  // namespace trbert::internal
