// What a vector of single items cannot say: batches, and arrays that no JSON makes.
#include <doctest/doctest.h>

#include "core/request.hpp"
#include "text/rows.hpp"
#include "vectors.hpp"

using namespace trbert::internal;
using trbert::Inputs;

namespace {

const TaskSpec& task(const std::string& name) {
    static std::map<std::string, TaskSpec> read;
    if (read.count(name) == 0) read[name] = read_task(vectors("items.json").at("tasks").at(name));
    return read.at(name);
}

Request request(const std::string& name, const Inputs& inputs) { return Request(task(name), inputs); }

}  // namespace

TEST_CASE("what is not given is filled in, padding is brought inside") {
    const Request made = request("sequence-classification", {{"input_ids", {{2, 3}, {5, 6, 7, 8, 999, -4}}},
                                                             {"attention_mask", {{2, 3}, {1, 1, 1, 1, 0, 0}}}});
    CHECK(made.lengths() == Rows{3, 1});
    CHECK(made.width() == 3);
    CHECK(made.protected_from() == nullptr);
    CHECK(made.take("input_ids", {1, 0}, 3).data == Rows{8, 0, 0, 5, 6, 7});
    CHECK(made.take("input_ids", {0, 1}, 2).data == Rows{5, 6, 8, 0});
    CHECK(made.take("token_type_ids", {1}, 3).data == Rows{0, 0, 0});
    const Request own = request("passages", {{"input_ids", {{2, 1}, {5, 6}}}, {"query_end", {{2}, {1, 1}}}});
    CHECK(own.take("domain", {1, 0}, 1).data == Rows{-1, -1});
    CHECK(own.take("boxes", {1}, 1).shape == Shape{1, 1, 2});
}

TEST_CASE("sequences of a row are cut alike") {
    const Request made = request("multiple-choice", {{"input_ids", {{1, 2, 3}, {1, 2, 3, 4, 5, 6}}},
                                                     {"attention_mask", {{1, 2, 3}, {1, 0, 0, 1, 1, 0}}},
                                                     {"question_ends", {{1}, {1}}}});
    CHECK(made.lengths() == Rows{2});
    CHECK(made.sequences() == 2);
    REQUIRE(made.protected_from() != nullptr);
    CHECK(*made.protected_from() == Rows{1});
    const Ids taken = made.take("input_ids", {0}, 2);
    CHECK(taken.shape == Shape{1, 2, 2});
    CHECK(taken.data == Rows{1, 2, 4, 5});
    CHECK(made.take("question_ends", {0}, 2).data == Rows{1});
}

TEST_CASE("tensors whose numbers do not fit their shape are refused") {
    for (const Shape& shape : std::vector<Shape>{
             {2, 2}, {3}, {1, 3, 1}, {-1, -3}, {INT64_MAX, 3}, {3, INT64_MAX}, {INT64_MAX, INT64_MAX}, {0, 3}, {}}) {
        CHECK_THROWS_AS(request("sequence-classification", {{"input_ids", {shape, {1, 2, 3}}}}), trbert::Error);
    }
}

TEST_CASE("inputs that share an axis are of one size along it") {
    TaskSpec two = task("wikihop");
    two.inputs.push_back(two.inputs.back());
    two.inputs.back().name = "candidate_types";
    const Inputs given{{"input_ids", {{1, 2}, {1, 2}}}, {"candidate_positions", {{1, 2}, {0, 1}}}};
    Inputs alike = given, unlike = given;
    alike["candidate_types"] = {{1, 2}, {1, 1}};
    unlike["candidate_types"] = {{1, 1}, {1}};
    CHECK_NOTHROW(Request(two, alike));
    CHECK_THROWS_WITH_AS(Request(two, unlike), doctest::Contains("the axis candidates of another input has 2"),
                         trbert::Error);
}

TEST_CASE("of several rows the one that is wrong is named") {
    const Rows ids(26, 5);
    Rows mask(26, 1);
    mask[12] = 0;
    CHECK_THROWS_WITH_AS(
        request("sequence-classification", {{"input_ids", {{2, 13}, ids}}, {"attention_mask", {{2, 13}, mask}}}),
        doctest::Contains("row 1 has 13 tokens, the model takes 12"), trbert::Error);
    CHECK_THROWS_WITH_AS(
        request("wikihop", {{"input_ids", {{2, 3}, Rows(6, 5)}}, {"candidate_positions", {{2, 2}, {0, 1, 2, 3}}}}),
        doctest::Contains("candidate_positions of row 1"), trbert::Error);
    CHECK_THROWS_WITH_AS(request("wikihop", {{"input_ids", {{2, 3}, Rows(6, 5)}}, {"poems", {{1}, {1}}}}),
                         doctest::Contains("takes no poems"), trbert::Error);
}

TEST_CASE("a row may have no sentences, a batch no empty rows") {
    const Request made = request("hotpot", {{"input_ids", {{1, 3}, {1, 2, 3}}}, {"sentence_spans", {{1, 0, 2}, {}}}});
    CHECK(made.take("sentence_spans", {0}, 3).shape == Shape{1, 0, 2});
    CHECK(made.sizes().at("sentences") == 0);
    CHECK_THROWS_WITH_AS(request("sequence-classification", {{"input_ids", {{1, 0}, {}}}}),
                         doctest::Contains("the batch is empty"), trbert::Error);
}

TEST_CASE("rows of unequal sizes are padded as their inputs say") {
    Row one, other;
    one.arrays = {{"input_ids", {{2}, {5, 6}}}, {"sentence_spans", {{1, 2}, {0, 1}}}};
    other.arrays = {{"input_ids", {{3}, {7, 8, 9}}}, {"sentence_spans", {{2, 2}, {0, 1, 1, 2}}}};
    const Inputs batch = collate({&one, &other}, task("hotpot"));
    CHECK(batch.at("input_ids").data == Rows{5, 6, 0, 7, 8, 9});
    CHECK(batch.at("sentence_spans").shape == Shape{2, 2, 2});
    CHECK(batch.at("sentence_spans").data == Rows{0, 1, -1, -1, 0, 1, 1, 2});
}
