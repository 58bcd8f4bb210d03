// Budgets, and the bookkeeping of kept positions: the rules of trbert_deploy/core/selection.py.
#pragma once

#include "core/arrays.hpp"

namespace trbert::internal {

// One number for each token of a row, not 0 where it goes on.
using RowMask = std::vector<std::int64_t>;

// Budgets are counted in millionths, in integers, so that every runtime and language rounds alike.
inline constexpr std::int64_t kBudgetScale = 1'000'000;

// How many tokens rows of these lengths keep: ceil(fraction * length), exactly, and at least one.
Rows budget(const Rows& lengths, double fraction);

// How many they have left after a reduction in budget mode, known before it is run. protected_from: where the task
// protects tokens, for each row the first of them: those from there on and [CLS] are kept beyond any budget.
Rows budget_counts(const Rows& lengths, double fraction, const Rows* protected_from);

// Kept positions of one row in the original row, for each reduction, ascending. full_length: whether all masks are over
// the original positions; else each is over the tokens that the one before kept.
// Throws std::invalid_argument where a mask keeps a token that the one before did not.
std::vector<Rows> kept_positions(const std::vector<RowMask>& keep_masks, bool full_length);

}  // namespace trbert::internal
