#include <doctest/doctest.h>

#include "tensorrt/padding.hpp"
#include "trbert/trbert.hpp"

using namespace trbert::internal;

namespace {

const ShapeBuckets kSmall{{4, 8}, {{2, 6}}, 4, 4};
const TaskSpec kTask{"", {{"input_ids", {{"batch"}, {"length"}}, 0, 9, {}, 7, {}, ""}}, {}, 8, {}, {}, {}, {}};
const std::map<std::string, Axes> kFirst{{"input_ids", {{"batch"}, {"length"}}},
                                         {"attention_mask", {{"batch"}, {"length"}}}};
const std::map<std::string, Axes> kLater{{"hidden_states", {{"batch_before"}, {"length"}, {"", 16}}},
                                         {"rows", {{"batch"}}},
                                         {"keep", {{"kept"}}},
                                         {"spans", {{"batch"}, {"sentences"}, {"", 2}}}};

// A tensor of the stage before.
struct Carried : Held {
    explicit Carried(Shape given) : sizes(std::move(given)) {}
    Shape shape() const override { return sizes; }
    trbert::Tensor<float> floats() const override { throw std::logic_error("not read"); }
    Ids integers() const override { throw std::logic_error("not read"); }
    Shape sizes;
};

}  // namespace

TEST_CASE("added rows repeat the last one, added tokens are masked") {
    const Ids ids{{3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}}, mask{{3, 3}, {1, 1, 1, 1, 1, 0, 1, 0, 0}};
    const Padded call = pad(kFirst, {{"input_ids", ids}, {"attention_mask", mask}}, {{4, 8}, {}, 8, 4}, 0, kTask);
    CHECK(call.rows == 3);
    CHECK(call.width == 3);
    CHECK(call.shape(kFirst.at("input_ids")) == Shape{3, 4});
    CHECK(call.arrays.at("attention_mask").data == Rows{1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0});
    CHECK(call.arrays.at("input_ids").data == Rows{1, 2, 3, 7, 4, 5, 6, 7, 7, 8, 9, 7});  // padded as the task says
    const Ids five{{5, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}, ones{{5, 2}, Rows(10, 1)};
    const Padded six = pad(kFirst, {{"input_ids", five}, {"attention_mask", ones}}, {{2}, {}, 8, 4}, 0, kTask);
    CHECK(six.arrays.at("input_ids").shape == Shape{6, 2});
    CHECK(six.arrays.at("input_ids").data == Rows{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 9, 10});
}

TEST_CASE("later stages take the whole buffer, and as many tokens as the bucket") {
    const Carried states({2, 8, 16});
    const Feeds feeds{{"hidden_states", &states},
                      {"rows", Ids{{3}, {1, 0, 1}}},
                      {"keep", Ids{{3}, {0, 0, 0}}},
                      {"spans", Ids{{3, 1, 2}, {0, 1, 0, 2, 1, 2}}}};
    const Padded call = pad(kLater, feeds, kSmall, 1, kTask);
    CHECK(call.sizes == Sizes{{"batch", 3}, {"batch_before", 4}, {"kept", 6}, {"length", 8}, {"sentences", 1}});
    CHECK(call.shape(kLater.at("hidden_states")) == Shape{4, 8, 16});
    CHECK(call.arrays.at("keep").shape == Shape{6});
    CHECK(call.arrays.at("spans").shape == Shape{3, 1, 2});
    CHECK(!call.width);
    CHECK(call.arrays.count("hidden_states") == 0);
    const Carried narrow({2, 4, 16});  // no more tokens than there are
    Feeds fewer = feeds;
    fewer["hidden_states"] = &narrow;
    CHECK(pad(kLater, fewer, kSmall, 1, kTask).sizes.at("kept") == 4);
}

TEST_CASE("more tokens than the largest bucket are an error that names the way out") {
    const Ids nine{{1, 9}, Rows(9, 1)};
    CHECK_THROWS_WITH_AS(pad(kFirst, {{"input_ids", nine}, {"attention_mask", nine}}, kSmall, 0, kTask),
                         doctest::Contains("at most 8 tokens, this batch has 9"), trbert::Error);
}
