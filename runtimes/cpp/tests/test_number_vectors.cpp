// spec/grouping.json, budget.json, selection.json and shape_buckets.json.
#include <doctest/doctest.h>

#include "core/grouping.hpp"
#include "core/selection.hpp"
#include "core/shape_buckets.hpp"
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

TEST_CASE("keep masks become positions as the vectors say") {
    const Json file = vectors("selection.json");
    for (const Json& test : file.at("chains")) {
        CAPTURE(test.dump());
        const auto masks = test.at("keep_masks").get<std::vector<RowMask>>();
        CHECK(kept_positions(masks, test.at("full_length")) == test.at("kept").get<std::vector<Rows>>());
    }
    CHECK_THROWS_AS(kept_positions({{1, 0, 1}, {0, 0, 1}}, false), std::invalid_argument);
}
