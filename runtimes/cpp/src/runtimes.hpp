// Which library runs a bundle: the options are understood here.
#pragma once

#include <memory>

#include "bundle/manifest.hpp"
#include "runner.hpp"

namespace trbert::internal {

// The runtime that was asked for; nothing else ever runs instead. The bundle outlives it.
// Throws Error (configuration, device, bundle).
std::unique_ptr<Runtime> make_runtime(const Bundle& bundle, const Options& options);

}  // namespace trbert::internal
