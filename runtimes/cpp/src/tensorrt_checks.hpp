// What TensorRT takes of a bundle, and where its engines lie, whether its own runtime runs them or ONNX Runtime's
// providers do: runtimes/tensorrt_checks.py and engines_folder.py.
#pragma once

#include <filesystem>

#include "bundle/manifest.hpp"
#include "trbert/trbert.hpp"

namespace trbert::internal {

// See to it that TensorRT takes the graphs that a mode runs. Throws Error (bundle, configuration) where int8 has the
// form for CPUs, or the shapes within the fused graph depend on the data.
void require_for_tensorrt(const Bundle& bundle, Mode mode);

// Where a bundle's TensorRT engines lie unless told otherwise: NAME.engines beside the folder NAME.
std::filesystem::path tensorrt_engines_folder(const Bundle& bundle);

}  // namespace trbert::internal
