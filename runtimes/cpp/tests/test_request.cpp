#include <doctest/doctest.h>

#include "request.hpp"
#include "rows.hpp"

using namespace trbert::internal;
using trbert::Inputs;

namespace {

const Limits kLimits{8, 100, 2};

Request request(const std::string& task, const Inputs& inputs) { return Request(*task_named(task), kLimits, inputs); }

}  // namespace

TEST_CASE("what is not given is filled in, padding is brought inside") {
    const Request made = request("sequence-classification", {{"input_ids", {{2, 3}, {5, 6, 7, 8, 999, -4}}},
                                                             {"attention_mask", {{2, 3}, {1, 1, 1, 1, 0, 0}}}});
    CHECK(made.lengths() == std::vector<std::int64_t>{3, 1});
    CHECK(made.take("input_ids", {1, 0}, 3).data == std::vector<std::int64_t>{8, 0, 0, 5, 6, 7});
    CHECK(made.take("input_ids", {0, 1}, 2).data == std::vector<std::int64_t>{5, 6, 8, 0});
    CHECK(made.take("token_type_ids", {1}, 3).data == std::vector<std::int64_t>{0, 0, 0});
}

TEST_CASE("options of a row are cut alike") {
    const Request made = request("multiple-choice", {{"input_ids", {{1, 2, 3}, {1, 2, 3, 4, 5, 6}}},
                                                     {"attention_mask", {{1, 2, 3}, {1, 0, 0, 1, 1, 0}}},
                                                     {"question_ends", {{1}, {1}}}});
    CHECK(made.lengths() == std::vector<std::int64_t>{2});
    CHECK(made.sequences_a_row() == 2);
    const Ids taken = made.take("input_ids", {0}, 2);
    CHECK(taken.shape == std::vector<std::int64_t>{1, 2, 2});
    CHECK(taken.data == std::vector<std::int64_t>{1, 2, 4, 5});
    CHECK(made.take("question_ends", {0}, 2).data == std::vector<std::int64_t>{1});
}

TEST_CASE("tensors whose numbers do not fit their shape are refused") {
    for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
             {2, 2}, {3}, {1, 3, 1}, {-1, -3}, {INT64_MAX, 3}, {3, INT64_MAX}, {INT64_MAX, INT64_MAX}, {0, 3}, {}}) {
        CHECK_THROWS_AS(request("sequence-classification", {{"input_ids", {shape, {1, 2, 3}}}}), trbert::Error);
    }
}

TEST_CASE("positions of a task must lie in the row") {
    const auto hotpot = [](std::int64_t first, std::int64_t last) {
        return request("hotpot", {{"input_ids", {{1, 3}, {1, 2, 3}}}, {"sentence_spans", {{1, 1, 2}, {first, last}}}});
    };
    CHECK_NOTHROW(hotpot(0, 2));
    CHECK_NOTHROW(hotpot(-1, -1));
    CHECK_THROWS_AS(hotpot(0, 3), trbert::Error);
    CHECK_THROWS_AS(hotpot(-2, 1), trbert::Error);
    CHECK_THROWS_AS(request("hotpot", {{"input_ids", {{1, 3}, {1, 2, 3}}}}), trbert::Error);
    CHECK_THROWS_AS(request("wikihop", {{"input_ids", {{1, 3}, {1, 2, 3}}}, {"candidate_positions", {{1, 1}, {3}}}}),
                    trbert::Error);
}

TEST_CASE("a row may have no sentences, a batch no empty rows") {
    const Request made = request("hotpot", {{"input_ids", {{1, 3}, {1, 2, 3}}}, {"sentence_spans", {{1, 0, 2}, {}}}});
    CHECK(made.take("sentence_spans", {0}, 3).shape == std::vector<std::int64_t>{1, 0, 2});
    CHECK_THROWS_WITH_AS(request("sequence-classification", {{"input_ids", {{1, 0}, {}}}}),
                         doctest::Contains("the batch is empty"), trbert::Error);
}

TEST_CASE("the longer of a pair is cut, in the end both to a half") {
    using Pair = std::pair<std::size_t, std::size_t>;
    CHECK(longest_first(3, 4, 10) == Pair{3, 4});
    CHECK(longest_first(2, 20, 10) == Pair{2, 8});
    CHECK(longest_first(20, 2, 10) == Pair{8, 2});
    CHECK(longest_first(20, 30, 11) == Pair{5, 6});
    CHECK(longest_first(5, 0, 3) == Pair{3, 0});
}

TEST_CASE("rows of unequal sizes are padded") {
    Row one, other;
    one.arrays = {{"input_ids", {{2}, {5, 6}}}, {"sentence_spans", {{1, 2}, {0, 1}}}};
    other.arrays = {{"input_ids", {{3}, {7, 8, 9}}}, {"sentence_spans", {{2, 2}, {0, 1, 1, 2}}}};
    const Inputs batch = collate({&one, &other});
    CHECK(batch.at("input_ids").data == std::vector<std::int64_t>{5, 6, 0, 7, 8, 9});
    CHECK(batch.at("sentence_spans").shape == std::vector<std::int64_t>{2, 2, 2});
    CHECK(batch.at("sentence_spans").data == std::vector<std::int64_t>{0, 1, -1, -1, 0, 1, 1, 2});
}
