// Which shapes TensorRT engines are made for, and which of them a batch is rounded up to: numbers only, the same as
// runtimes/shape_buckets.py.
#pragma once

#include <optional>

#include "core/arrays.hpp"

namespace trbert::internal {

// What one more group costs on a GPU, in tokens: an estimate, as in Python.
inline constexpr std::int64_t kGpuOverheadTokens = 1024;

using Buckets = std::vector<std::int64_t>;  // ascending

// The shapes that a bundle's TensorRT engines are made for.
struct ShapeBuckets {
    Buckets lengths;            // at the input, tokens of a row
    std::vector<Buckets> kept;  // for each reduction, tokens that go on
    std::int64_t rows = 1;      // a group has so many rows at most
    std::int64_t entries = 1;   // along a caller's own axis a row has so many at most: options, sentences, candidates

    // Numbers of tokens that a stage's layers run over.
    const Buckets& tokens(std::size_t stage) const { return stage == 0 ? lengths : kept.at(stage - 1); }
    bool operator==(const ShapeBuckets& other) const;

    // Split rows into groups, counting what they are rounded up to; see `group_rows`.
    std::vector<Rows> group(std::size_t stage, const Rows& counts, std::int64_t sequences) const;
};

// Buckets 32, 64, 128 ... and `largest`.
Buckets doubling_buckets(std::int64_t largest);

// The smallest bucket that holds so many; none where none does.
std::optional<std::int64_t> round_up(std::int64_t size, const Buckets& buckets);

// What each count is padded to; one beyond all buckets stays as it is.
Rows round_up_counts(Rows counts, const Buckets& buckets);

// The next of 1, 2, 3, 4, 6, 8, 12, 16, 24 ... or `largest`.
std::int64_t round_up_rows(std::int64_t rows, std::int64_t largest);

}  // namespace trbert::internal
