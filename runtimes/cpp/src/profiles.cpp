#include "profiles.hpp"

#include <algorithm>

namespace trbert::internal {

const Range* Profile::range(const std::string& axis) const {
    const auto named = [&](const auto& entry) { return entry.first == axis; };
    const auto found = std::find_if(axes.begin(), axes.end(), named);
    return found == axes.end() ? nullptr : &found->second;
}

bool Profile::fits(const Sizes& sizes) const {
    return std::all_of(axes.begin(), axes.end(), [&](const auto& axis) {
        const auto size = sizes.find(axis.first);
        return size == sizes.end() || (axis.second[0] <= size->second && size->second <= axis.second[2]);
    });
}

std::vector<std::string> own_axes(const TaskSpec& task) {
    std::vector<std::string> names;
    for (const InputSpec& input : task.inputs) {
        for (const Axis& axis : input.axes) {
            const bool fresh = std::find(names.begin(), names.end(), axis.name) == names.end();
            if (fresh && is_callers_own(axis)) names.push_back(axis.name);
        }
    }
    return names;
}

std::vector<Profile> stage_profiles(const ShapeBuckets& shapes, std::size_t stage, bool full_length,
                                    const std::vector<std::string>& own) {
    std::vector<Profile> profiles;
    const Buckets& before = full_length || stage <= 1 ? shapes.lengths : shapes.tokens(stage - 1);
    std::vector<Range> row_ranges{{1, 1, 1}};
    if (shapes.rows > 1) row_ranges.push_back({2, shapes.rows, shapes.rows});
    for (const std::int64_t tokens : shapes.tokens(stage)) {
        for (const Range& rows : row_ranges) {
            Profile profile{{{kBatch, rows}}};
            for (const std::string& axis : own) profile.axes.push_back({axis, {1, shapes.entries, shapes.entries}});
            if (stage == 0) {
                profile.axes.push_back({kLength, {1, tokens, tokens}});
            } else {
                const std::int64_t width = round_up(tokens, before).value_or(before.back());
                const std::int64_t kept = std::min(tokens, before.back());
                profile.axes.push_back({kKept, {1, kept, kept}});
                profile.axes.push_back({kLength, {1, width, before.back()}});
                // Stages are given the whole buffer of the one before, however many of its rows are in use.
                profile.axes.push_back({kBatchBefore, {shapes.rows, shapes.rows, shapes.rows}});
            }
            profiles.push_back(std::move(profile));
        }
    }
    return profiles;
}

std::optional<std::size_t> choose_profile(const std::vector<Profile>& profiles, const Sizes& sizes) {
    const auto found =
        std::find_if(profiles.begin(), profiles.end(), [&](const Profile& one) { return one.fits(sizes); });
    if (found == profiles.end()) return std::nullopt;
    return static_cast<std::size_t>(found - profiles.begin());
}

}  // namespace trbert::internal
