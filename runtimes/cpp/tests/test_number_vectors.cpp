// spec/grouping.json, budget.json, selection.json and shape_buckets.json.
#include <doctest/doctest.h>

#include "core/grouping.hpp"
#include "core/selection.hpp"
#include "profiles.hpp"
#include "vectors.hpp"

using namespace trbert::internal;

TEST_CASE("rows run together as the vectors say") {
    const Json file = vectors("grouping.json");
    for (const Json& test : file.at("cases")) {
        CAPTURE(test.dump());
        const Json* most = value_of(test, "max_rows");
        const std::int64_t max_rows = most ? integer(*most) : std::numeric_limits<std::int64_t>::max();
        const auto groups = group_rows(test.at("counts").get<Rows>(), integer(test.at("sequences")),
                                       integer(test.at("overhead_tokens")), max_rows);
        CHECK(groups == test.at("groups").get<std::vector<Rows>>());
    }
}

TEST_CASE("rows keep as many tokens as the vectors say") {
    const Json file = vectors("budget.json");
    for (const Json& test : file.at("cases")) {
        CAPTURE(test.dump());
        const Rows lengths = test.at("lengths").get<Rows>();
        const double fraction = number(test.at("fraction"));
        CHECK(budget(lengths, fraction) == test.at("budget").get<Rows>());
        Rows protected_from;
        if (const Json* given = value_of(test, "protected_from")) protected_from = given->get<Rows>();
        const Rows counts = budget_counts(lengths, fraction, protected_from.empty() ? nullptr : &protected_from);
        CHECK(counts == test.at("counts").get<Rows>());
    }
}

TEST_CASE("shapes are rounded up to buckets as the vectors say") {
    const Json file = vectors("shape_buckets.json");
    for (const Json& test : file.at("doubling"))
        CHECK(doubling_buckets(integer(test.at("largest"))) == test.at("buckets").get<Buckets>());
    for (const Json& test : file.at("rounded")) {
        CAPTURE(test.dump());
        const std::int64_t size = integer(test.at("size"));
        const Buckets buckets = test.at("buckets").get<Buckets>();
        const Json* wanted = value_of(test, "rounded");
        CHECK(round_up(size, buckets) == (wanted ? std::optional(integer(*wanted)) : std::nullopt));
        CHECK(round_up_counts({size}, buckets) == Rows{wanted ? integer(*wanted) : size});
    }
    for (const Json& test : file.at("rows")) {
        CAPTURE(test.dump());
        CHECK(round_up_rows(integer(test.at("rows")), integer(test.at("largest"))) == integer(test.at("rounded")));
    }
}

TEST_CASE("profiles are those of the vectors, and chosen as they say") {
    const auto file = ordered_vectors("shape_buckets.json");
    std::vector<std::vector<Profile>> made;
    for (const auto& test : file.at("profiles")) {
        CAPTURE(test.dump());
        const auto& given = test.at("shapes");
        const ShapeBuckets shapes{given.at("lengths"), given.at("kept"), given.at("rows"), given.at("entries")};
        made.push_back(stage_profiles(shapes, test.at("stage"), test.at("full_length"), test.at("own")));
        nlohmann::ordered_json profiles = nlohmann::ordered_json::array();
        for (const Profile& profile : made.back()) {
            nlohmann::ordered_json axes = nlohmann::ordered_json::object();
            for (const auto& [axis, range] : profile.axes) axes[axis] = range;
            profiles.push_back(axes);
        }
        CHECK(profiles.dump() == test.at("profiles").dump());  // the order of axes counts
    }
    for (const auto& test : file.at("choices")) {
        CAPTURE(test.dump());
        const auto& wanted = test.at("profile");
        const auto chosen = choose_profile(made[1], test.at("sizes").get<Sizes>());
        CHECK(chosen == (wanted.is_null() ? std::nullopt : std::optional(wanted.get<std::size_t>())));
    }
}

TEST_CASE("keep masks become positions as the vectors say") {
    const Json file = vectors("selection.json");
    for (const Json& test : file.at("chains")) {
        CAPTURE(test.dump());
        const auto masks = test.at("keep_masks").get<std::vector<RowMask>>();
        CHECK(kept_positions(masks, test.at("full_length")) == test.at("kept").get<std::vector<Rows>>());
    }
    CHECK_THROWS_AS(kept_positions({{1, 0, 1}, {0, 0, 1}}, false), std::invalid_argument);
}
