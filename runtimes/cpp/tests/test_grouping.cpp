// What grouping promises, whatever the vectors hold.
#include <doctest/doctest.h>

#include <limits>
#include <random>

#include "core/grouping.hpp"

using namespace trbert::internal;

namespace {

double cost_of(const std::vector<Rows>& groups, const Rows& counts) {
    double cost = 0;
    for (const Rows& group : groups) {
        std::int64_t longest = 0;
        for (const std::int64_t row : group) longest = std::max(longest, counts[static_cast<std::size_t>(row)]);
        cost += static_cast<double>(group.size()) * static_cast<double>(longest) + 64;
    }
    return cost;
}

// The least cost over all ways to put each row into one of the groups.
double least_cost(const Rows& counts, std::vector<Rows> groups, std::size_t row) {
    if (row == counts.size()) return cost_of(groups, counts);
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t group = 0; group <= groups.size(); ++group) {
        std::vector<Rows> further = groups;
        if (group == groups.size()) further.emplace_back();
        further[group].push_back(static_cast<std::int64_t>(row));
        least = std::min(least, least_cost(counts, further, row + 1));
    }
    return least;
}

}  // namespace

TEST_CASE("no way to group costs less") {
    std::mt19937 random(2021);
    for (int round = 0; round < 40; ++round) {
        Rows counts(1 + random() % 7);
        for (std::int64_t& count : counts) count = 1 + static_cast<std::int64_t>(random() % 200);
        const std::vector<Rows> groups = group_rows(counts, 1);
        CHECK(cost_of(groups, counts) == least_cost(counts, {}, 0));
    }
}
