// Which rows of a batch run together, so that a short row does not pay for a long one.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "request.hpp"

namespace trbert::internal {

// What running one more group costs on a CPU, in tokens.
constexpr std::int64_t kGroupOverheadTokens = 64;

// Split rows into groups, each padded to its longest row, at the least total cost: the same cuts as
// runtimes/grouping.py, where the method is described.
//
// counts: tokens of each row. sequences_a_row: sequences that each row stands for (options in multiple choice).
// overhead_tokens: what one more group costs. max_rows: no group has more rows.
// Returns row indices, longest rows first; within a group ascending.
std::vector<Rows> plan_groups(const std::vector<std::int64_t>& counts, std::int64_t sequences_a_row,
                              std::int64_t overhead_tokens = kGroupOverheadTokens,
                              std::int64_t max_rows = std::numeric_limits<std::int64_t>::max());

}  // namespace trbert::internal
