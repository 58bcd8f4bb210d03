// Golden vectors: inputs with the PyTorch reference's answers, as trbert_deploy/bundle/golden.py.
#pragma once

#include <filesystem>
#include <functional>

#include "trbert/trbert.hpp"

namespace trbert::internal {

// Replay a file on an engine and say how the answers differ. Throws Error (bundle) where it holds no golden vectors.
Verification replay(const std::filesystem::path& path, const std::function<Output(const Inputs&)>& run);

}  // namespace trbert::internal
