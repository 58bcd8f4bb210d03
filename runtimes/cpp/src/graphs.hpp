// What the graphs of a bundle take and give, so that running them needs no further checks of names.
#pragma once

#include <string>

#include "manifest.hpp"

namespace trbert::internal {

// Inputs that tell a stage what to do, beside the caller's and those carried over.
inline const std::string kRows = "rows", kKeep = "keep", kBudget = "budget";
inline const std::string kKeepCount = "keep_count", kKeepMask = "next_keep_mask";

bool contains(const std::vector<std::string>& names, const std::string& name);

// Whether it is one of input_ids, attention_mask and token_type_ids.
bool is_token_input(const std::string& name);

// The keep mask of a reduction, counted from 0, as the fused graph gives it.
std::string fused_keep_mask(std::size_t reduction);

// Every input of a graph can be fed and every output that is read is given. Throws std::invalid_argument.
void check_graphs(const Bundle& bundle);

}  // namespace trbert::internal
