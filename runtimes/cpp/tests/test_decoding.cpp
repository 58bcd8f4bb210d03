#include <doctest/doctest.h>

#include <cmath>

#include "decoding.hpp"

using namespace trbert::internal;
using Span2 = std::pair<std::size_t, std::size_t>;

TEST_CASE("the best span is answerable, in order and short enough") {
    const float start[] = {9, 1, 5, 0, 2}, end[] = {9, 0, 1, 6, 7};
    CHECK(best_span(start, end, {false, true, true, true, true}) == Span2{2, 4});
    CHECK(best_span(start, end, {false, true, true, false, true}) == Span2{4, 4});
    CHECK(best_span(start, end, {false, true, false, false, false}) == Span2{1, 1});
    std::vector<float> starts(100, 0.0F), ends(100, 0.0F);
    starts[10] = 5;
    ends[40] = 5;  // 31 tokens: one too many
    ends[39] = 4;
    CHECK(best_span(starts.data(), ends.data(), std::vector<bool>(100, true)) == Span2{10, 39});
}

TEST_CASE("of equal spans the one that starts, then the one that ends first") {
    const float start[] = {0, 1, 1, 0}, end[] = {0, 0, 3, 3};
    CHECK(best_span(start, end, std::vector<bool>(4, true)) == Span2{1, 2});
}

TEST_CASE("a single logit is the score") {
    Row row;
    trbert::Output output;
    output["logits"] = {{2, 1}, {0.25F, -3.0F}};
    CHECK(decode(*task_named("sequence-classification"), {}, row, output, 1).dump() == R"({"score":-3.0})");
}

TEST_CASE("unnamed labels are numbers") {
    Row row;
    trbert::Output output;
    output["logits"] = {{1, 3}, {0.0F, 2.0F, 2.0F}};
    const Answer answer = decode(*task_named("sequence-classification"), {"zero"}, row, output, 0);
    CHECK(answer["label"] == "1");  // of equals the first
    CHECK(answer["scores"].size() == 3);
    CHECK(answer["scores"]["zero"].get<double>() == doctest::Approx(1 / (1 + 2 * std::exp(2.0))));
}
