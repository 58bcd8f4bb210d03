#include <doctest/doctest.h>

#include "buckets.hpp"
#include "grouping.hpp"

using namespace trbert::internal;

namespace {

const Grid kGrid{{64, 128}, {{32, 128}, {16, 128}}, 8, 4};

}  // namespace

TEST_CASE("sizes are rounded up to buckets") {
    CHECK(doubling_buckets(96) == Buckets{32, 64, 96});
    CHECK(doubling_buckets(32) == Buckets{32});
    CHECK(doubling_buckets(20) == Buckets{20});
    CHECK(round_up(64, kGrid.lengths) == 64);
    CHECK(round_up(65, kGrid.lengths) == 128);
    CHECK(!round_up(129, kGrid.lengths));
    CHECK(round_up_counts({1, 64, 65, 129}, kGrid.lengths) == Buckets{64, 64, 128, 129});
}

TEST_CASE("rows are rounded up by a third at most") {
    std::vector<std::int64_t> steps;
    for (std::int64_t rows = 1; rows <= 24; ++rows) steps.push_back(round_up_rows(rows, 100));
    CHECK(steps == std::vector<std::int64_t>{1,  2,  3,  4,  6,  6,  8,  8,  12, 12, 12, 12,
                                             16, 16, 16, 16, 24, 24, 24, 24, 24, 24, 24, 24});
    CHECK(round_up_rows(7, 7) == 7);
}

TEST_CASE("the smallest profile that fits is chosen") {
    const std::vector<Profile> first = stage_profiles(kGrid, 0, false);
    REQUIRE(first.size() == 4);
    CHECK(choose_profile(first, {{"batch", 1}, {"length", 64}}) == 0U);
    CHECK(choose_profile(first, {{"batch", 2}, {"length", 64}}) == 1U);
    CHECK(choose_profile(first, {{"batch", 1}, {"length", 65}, {"unknown", 1000}}) == 2U);
    CHECK(!choose_profile(first, {{"batch", 9}, {"length", 64}}));
    CHECK(!choose_profile(first, {{"batch", 1}, {"length", 64}, {"options", 5}}));
    // Later stages are given the buffer of the one before, with all of its rows.
    for (const Profile& profile : stage_profiles(kGrid, 2, false)) {
        CHECK(*profile.range("batch_before") == Range{8, 8, 8});
        CHECK((*profile.range("length"))[2] == 128);
    }
    CHECK((*stage_profiles(kGrid, 2, false)[0].range("length"))[1] == 32);  // of what reduction 1 left
    CHECK((*stage_profiles(kGrid, 2, true)[0].range("length"))[1] == 64);   // of the whole row
    CHECK(stage_profiles({{32}, {}, 1, 1}, 0, false).size() == 1);
}

TEST_CASE("groups have no more rows than they may") {
    for (const Rows& group : plan_groups(std::vector<std::int64_t>(70, 12), 1, 1024, 32)) CHECK(group.size() <= 32);
    CHECK(plan_groups(std::vector<std::int64_t>(70, 12), 1, 1024, 32).size() == 3);
    CHECK(plan_groups({500, 1}, 1, 1024, 32).size() == 1);  // another group would cost more than it saves
    CHECK(plan_groups({5, 5}, 1, 64, 1).size() == 2);
}
