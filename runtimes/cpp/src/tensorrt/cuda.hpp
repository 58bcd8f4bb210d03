// CUDA behind the contract of device.hpp. With engine.hpp the only part that knows NVIDIA's APIs; compiled where the
// library is built with TensorRT.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "tensorrt/device.hpp"
#include "tensorrt/engine_cache.hpp"

namespace trbert::internal {

// Throw Error (device) where a call of CUDA failed.
void check_cuda(cudaError_t code);

// The first GPU, and its driver. Throws Error (device) where there is none; says which.
Gpu look_at_gpu();

// The first GPU. Throws Error (device).
std::unique_ptr<Device> open_device();

}  // namespace trbert::internal
