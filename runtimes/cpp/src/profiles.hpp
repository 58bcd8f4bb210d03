// Optimization profiles: the ranges of shapes that a TensorRT engine is built for. The same as runtimes/profiles.py.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/specs.hpp"
#include "shape_buckets.hpp"

namespace trbert::internal {

// Smallest, best and largest size of an axis.
using Range = std::array<std::int64_t, 3>;

// One optimization profile: a range for each of the axes that vary, in the order in which they were named.
struct Profile {
    std::vector<std::pair<std::string, Range>> axes;

    const Range* range(const std::string& axis) const;

    // Whether all sizes lie in their ranges; axes that the profile does not have are not looked at.
    bool fits(const Sizes& sizes) const;
};

// The callers' own axes of a task's inputs, in order.
std::vector<std::string> own_axes(const TaskSpec& task);

// Profiles of a stage's TensorRT engine, the smallest first: for each number of tokens, one row and many.
// full_length: whether states between stages have all of a row's tokens. own: see `own_axes`.
std::vector<Profile> stage_profiles(const ShapeBuckets& shapes, std::size_t stage, bool full_length,
                                    const std::vector<std::string>& own);

// The number of the smallest profile that holds these sizes; none where none does.
std::optional<std::size_t> choose_profile(const std::vector<Profile>& profiles, const Sizes& sizes);

}  // namespace trbert::internal
