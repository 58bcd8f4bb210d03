#include "core/grouping.hpp"

#include <algorithm>
#include <numeric>

namespace trbert::internal {
std::vector<Rows> group_rows(const Rows& counts, std::int64_t sequences, std::int64_t overhead_tokens,
                             std::int64_t max_rows, std::int64_t max_tokens) {
    const std::size_t size = counts.size();
    Rows order(size);
    std::iota(order.begin(), order.end(), 0);
    if (size == 1) return {order};
    const auto count_of = [&](std::int64_t row) { return counts[static_cast<std::size_t>(row)]; };
    std::stable_sort(order.begin(), order.end(), [&](auto one, auto other) { return count_of(one) > count_of(other); });
    std::vector<double> best(size + 1, 0.0);  // best[i]: cost of the first i rows of `order`
    std::vector<std::size_t> cut(size + 1, 0);
    for (std::size_t end = 1; end <= size; ++end) {
        best[end] = std::numeric_limits<double>::infinity();
        // Rows start..end-1 form the last group, padded to the first of them.
        for (std::size_t start = end; start-- > 0;) {
            const auto rows = static_cast<std::int64_t>(end - start);
            const std::int64_t tokens = rows * count_of(order[start]) * sequences;
            if ((tokens > max_tokens || rows > max_rows) && rows > 1) break;  // longer groups are larger still
            const double cost = best[start] + static_cast<double>(tokens + overhead_tokens);
            if (cost <= best[end]) {  // of equals the earlier cut
                best[end] = cost;
                cut[end] = start;
            }
        }
    }
    std::vector<Rows> groups;
    for (std::size_t end = size; end > 0; end = cut[end]) {
        Rows group(order.begin() + static_cast<std::ptrdiff_t>(cut[end]),
                   order.begin() + static_cast<std::ptrdiff_t>(end));
        std::sort(group.begin(), group.end());
        groups.push_back(std::move(group));
    }
    std::reverse(groups.begin(), groups.end());
    return groups;
}

}  // namespace trbert::internal
