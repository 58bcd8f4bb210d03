// Which shapes engines are made for, and which of them a batch is rounded up to: numbers only, the same as
// runtimes/plans/buckets.py.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace trbert::internal {

// What one more group of rows costs on a GPU, in tokens: an estimate, as in Python.
inline constexpr std::int64_t kOverheadTokens = 1024;

using Buckets = std::vector<std::int64_t>;  // ascending

// An axis of an input: its name in the graph, or its fixed size.
struct Axis {
    std::string name;  // empty where the size is fixed
    std::int64_t size = 0;
};
using Axes = std::vector<Axis>;

// Sizes of axes by name.
using Sizes = std::map<std::string, std::int64_t>;

// The shapes that a bundle's engines are made for; see `Grid` there.
struct Grid {
    Buckets lengths;            // at the input, tokens of a row
    std::vector<Buckets> kept;  // for each reduction, tokens that go on
    std::int64_t rows;          // a group has so many rows at most
    std::int64_t items;         // a row has so many options, sentences or candidates at most

    // Numbers of tokens that a stage's layers run over.
    const Buckets& tokens(std::size_t stage) const { return stage == 0 ? lengths : kept.at(stage - 1); }
    bool operator==(const Grid& other) const;
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
std::vector<std::int64_t> round_up_counts(std::vector<std::int64_t> counts, const Buckets& buckets);

// The next of 1, 2, 3, 4, 6, 8, 12, 16, 24 ... or `largest`.
std::int64_t round_up_rows(std::int64_t rows, std::int64_t largest);

// Profiles of a stage's engine, the smallest first: for each number of tokens, one row and many. restores: whether
// states between stages have all of a row's tokens.
std::vector<Profile> stage_profiles(const Grid& grid, std::size_t stage, bool restores);

// The number of the smallest profile that holds these sizes; none where none does.
std::optional<std::size_t> choose_profile(const std::vector<Profile>& profiles, const Sizes& sizes);

}  // namespace trbert::internal
