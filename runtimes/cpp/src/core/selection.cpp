#include "core/selection.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace trbert::internal {

Rows budget(const Rows& lengths, double fraction) {
    const std::int64_t millionths = std::llrint(fraction * static_cast<double>(kBudgetScale));
    Rows counts;
    for (const std::int64_t length : lengths) counts.push_back((length * millionths + kBudgetScale - 1) / kBudgetScale);
    return counts;
}

Rows budget_counts(const Rows& lengths, double fraction, const Rows* protected_from) {
    Rows counts = budget(lengths, fraction);
    if (protected_from == nullptr) return counts;
    for (std::size_t row = 0; row < counts.size(); ++row) {
        counts[row] = std::max(counts[row], 1 + lengths[row] - protected_from->at(row));
    }
    return counts;
}

std::vector<Rows> kept_positions(const std::vector<RowMask>& keep_masks, bool full_length) {
    std::vector<Rows> chained;
    for (const RowMask& mask : keep_masks) {
        Rows positions;
        for (std::size_t token = 0; token < mask.size(); ++token) {
            if (mask[token] == 0) continue;
            if (chained.empty() || full_length) {
                positions.push_back(static_cast<std::int64_t>(token));
            } else if (token < chained.back().size()) {
                positions.push_back(chained.back()[token]);
            } else {
                throw std::invalid_argument("a keep mask keeps a token that did not reach it");
            }
        }
        chained.push_back(std::move(positions));
    }
    return chained;
}

}  // namespace trbert::internal
