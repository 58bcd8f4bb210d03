// What the graphs of a bundle take and give, so that running them needs no further checks of names.
#pragma once

#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "trbert/trbert.hpp"

namespace trbert::internal {

// Inputs that tell a stage what to do, beside the caller's and those carried over.
inline const std::string kRows = "rows", kKeep = "keep", kBudget = "budget";
inline const std::string kKeepCount = "keep_count", kKeepMask = "next_keep_mask";

// The keep mask of a reduction, counted from 0, as the fused graph gives it.
std::string fused_keep_mask(std::size_t reduction);

// The graphs that a mode runs, in order. Throws Error (bundle) where the bundle has none.
std::vector<GraphFile> graphs_of(const Bundle& bundle, Mode mode);

// Every input of a graph can be fed, in its type and with its axes, and every output that is read is given. Throws
// std::invalid_argument.
void check_graphs(const Bundle& bundle);

}  // namespace trbert::internal
