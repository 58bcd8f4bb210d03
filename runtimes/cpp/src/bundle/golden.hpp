// Golden vectors: inputs with the PyTorch reference's answers, as trbert_deploy/bundle/golden.py.
#pragma once

#include <functional>

#include "bundle/manifest.hpp"
#include "trbert/trbert.hpp"

namespace trbert::internal {

// Replay a bundle's file on an engine and say how the answers differ. Throws Error (bundle) where it holds no golden
// vectors, or such as would prove nothing.
Verification replay(const Bundle& bundle, const std::function<Output(const Inputs&)>& run);

}  // namespace trbert::internal
