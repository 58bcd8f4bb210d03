#include "shape_buckets.hpp"

#include <algorithm>

#include "core/grouping.hpp"

namespace trbert::internal {

bool ShapeBuckets::operator==(const ShapeBuckets& other) const {
    return lengths == other.lengths && kept == other.kept && rows == other.rows && entries == other.entries;
}

std::vector<Rows> ShapeBuckets::group(std::size_t stage, const Rows& counts, std::int64_t sequences) const {
    return group_rows(round_up_counts(counts, tokens(stage)), sequences, kGpuOverheadTokens, rows);
}

Buckets doubling_buckets(std::int64_t largest) {
    Buckets buckets;
    for (std::int64_t size = 32; size < largest; size *= 2) buckets.push_back(size);
    buckets.push_back(largest);
    return buckets;
}

std::optional<std::int64_t> round_up(std::int64_t size, const Buckets& buckets) {
    const auto found = std::lower_bound(buckets.begin(), buckets.end(), size);
    return found == buckets.end() ? std::nullopt : std::optional(*found);
}

Rows round_up_counts(Rows counts, const Buckets& buckets) {
    for (std::int64_t& count : counts) count = round_up(count, buckets).value_or(count);
    return counts;
}

std::int64_t round_up_rows(std::int64_t rows, std::int64_t largest) {
    std::int64_t step = 1;
    while (step < rows) {
        if (step % 2 == 0 && step * 3 / 2 >= rows) {
            step = step * 3 / 2;
            break;
        }
        step *= 2;
    }
    return std::min(step, largest);
}

}  // namespace trbert::internal
