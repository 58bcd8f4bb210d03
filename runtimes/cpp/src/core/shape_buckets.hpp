// Which shapes TensorRT engines are made for, and which of them a batch is rounded up to: numbers only, the same as
// runtimes/tensorrt/buckets.py.
#pragma once

#include <array>
#include <optional>
#include <utility>

#include "core/arrays.hpp"
#include "core/specs.hpp"

namespace trbert::internal {

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
};

// Smallest, best and largest size of an axis.
using Range = std::array<std::int64_t, 3>;

// One optimization profile: a range for each of the axes that vary, in the order in which they were named.
struct Profile {
    std::vector<std::pair<std::string, Range>> axes;

    const Range* range(const std::string& axis) const;

    // Whether all sizes lie in their ranges; axes that the profile does not have are not looked at.
    bool fits(const Sizes& sizes) const;
};

// Buckets 32, 64, 128 ... and `largest`.
Buckets doubling_buckets(std::int64_t largest);

// The smallest bucket that holds so many; none where none does.
std::optional<std::int64_t> round_up(std::int64_t size, const Buckets& buckets);

// What each count is padded to; one beyond all buckets stays as it is.
Rows round_up_counts(Rows counts, const Buckets& buckets);

// The next of 1, 2, 3, 4, 6, 8, 12, 16, 24 ... or `largest`.
std::int64_t round_up_rows(std::int64_t rows, std::int64_t largest);

// The callers' own axes of a task's inputs, in order.
std::vector<std::string> own_axes(const TaskSpec& task);

// Profiles of a stage's TensorRT engine, the smallest first: for each number of tokens, one row and many.
// full_length: whether states between stages have all of a row's tokens. own: see `own_axes`.
std::vector<Profile> stage_profiles(const ShapeBuckets& shapes, std::size_t stage, bool full_length,
                                    const std::vector<std::string>& own);

// The number of the smallest profile that holds these sizes; none where none does.
std::optional<std::size_t> choose_profile(const std::vector<Profile>& profiles, const Sizes& sizes);

}  // namespace trbert::internal
