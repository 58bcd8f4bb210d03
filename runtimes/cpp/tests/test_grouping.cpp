#include <doctest/doctest.h>

#include <limits>
#include <random>

#include "grouping.hpp"

using namespace trbert::internal;

namespace {

double cost_of(const std::vector<Rows>& groups, const std::vector<std::int64_t>& counts) {
    double cost = 0;
    for (const Rows& group : groups) {
        std::int64_t longest = 0;
        for (const std::int64_t row : group) longest = std::max(longest, counts[static_cast<std::size_t>(row)]);
        cost += static_cast<double>(group.size()) * static_cast<double>(longest) + 64;
    }
    return cost;
}

// The least cost over all ways to put each row into one of the groups.
double least_cost(const std::vector<std::int64_t>& counts, std::vector<Rows> groups, std::size_t row) {
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
        std::vector<std::int64_t> counts(1 + random() % 7);
        for (std::int64_t& count : counts) count = 1 + static_cast<std::int64_t>(random() % 200);
        const std::vector<Rows> groups = plan_groups(counts, 1);
        CHECK(cost_of(groups, counts) == least_cost(counts, {}, 0));
    }
}

TEST_CASE("rows ascend in a group, the longest rows come first") {
    CHECK(plan_groups({500, 1, 500, 2}, 1) == std::vector<Rows>{{0, 2}, {1, 3}});
    CHECK(plan_groups({7}, 1) == std::vector<Rows>{{0}});
}

TEST_CASE("groups are bounded, single rows are not") {
    for (const Rows& group : plan_groups(std::vector<std::int64_t>(100, 512), 1)) CHECK(group.size() * 512 <= 16384);
    CHECK(plan_groups({20000, 20000}, 1).size() == 2);
    CHECK(plan_groups({512, 512, 512}, 20).size() == 3);  // options count
}
