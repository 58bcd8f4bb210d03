// Which rows of a batch run together, so that a short row does not pay for a long one.
#pragma once

#include <cstdint>
#include <vector>

#include "request.hpp"

namespace trbert::internal {

// Split rows into groups, each padded to its longest row, at the least total cost: the same cuts as
// runtimes/grouping.py, where the method is described.
//
// counts: tokens of each row. sequences_a_row: sequences that each row stands for (options in multiple choice).
// Returns row indices, longest rows first; within a group ascending.
std::vector<Rows> plan_groups(const std::vector<std::int64_t>& counts, std::int64_t sequences_a_row);

}  // namespace trbert::internal
