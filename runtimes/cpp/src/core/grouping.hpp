// Which rows of a batch run together, so that a short row does not pay for a long one: the cuts of
// trbert_deploy/core/grouping.py, where the method is described.
#pragma once

#include <limits>

#include "core/arrays.hpp"

namespace trbert::internal {

// What running one more group costs on a CPU, in tokens.
constexpr std::int64_t kGroupOverheadTokens = 64;

// No group is larger than this, unless a single row is: bounds the memory of attention scores.
constexpr std::int64_t kMaxGroupTokens = 16384;
constexpr std::int64_t kCpuGroupTokens = 4096;  // where larger ones are no faster

// Split rows into groups, each padded to its longest row, at the least total cost.
//
// counts: tokens of each row. sequences: that each row stands for. overhead_tokens: what one more group costs.
// max_rows: no group has more rows. max_tokens: nor more tokens, unless a single row has.
// Returns row indices, longest rows first; within a group ascending.
std::vector<Rows> group_rows(const Rows& counts, std::int64_t sequences,
                             std::int64_t overhead_tokens = kGroupOverheadTokens,
                             std::int64_t max_rows = std::numeric_limits<std::int64_t>::max(),
                             std::int64_t max_tokens = kMaxGroupTokens);

}  // namespace trbert::internal
