#include <doctest/doctest.h>

#include <stdexcept>

#include "core/arrays.hpp"
#include "trbert/trbert.hpp"
#include "vectors.hpp"

using namespace trbert::internal;

TEST_CASE("nested lists become arrays") {
    const Ids array = integers_of(parse_json("[[1, 2, 3], [4, 5, true]]"));
    CHECK(array.shape == std::vector<std::int64_t>{2, 3});
    CHECK(array.data == std::vector<std::int64_t>{1, 2, 3, 4, 5, 1});
    CHECK(integers_of(parse_json("7")).shape.empty());
    CHECK(integers_of(parse_json("[]")).shape == std::vector<std::int64_t>{0});
    CHECK(integers_of(parse_json("[[], []]")).shape == std::vector<std::int64_t>{2, 0});
    CHECK(floats_of(parse_json("[1, 2.5]")).data == std::vector<float>{1.0F, 2.5F});
}

TEST_CASE("lists that are no arrays are refused") {
    for (const char* text : {"[[1], [2, 3]]", "[[1], 2]", "[1, [2]]", "[[], [1]]", "[1.5]", "[null]", "[\"1\"]",
                             "[18446744073709551615]"}) {
        CAPTURE(text);
        CHECK_THROWS_AS(integers_of(parse_json(text)), std::invalid_argument);
    }
    CHECK_THROWS_AS(floats_of(parse_json("[null]")), std::invalid_argument);
}

TEST_CASE("texts are JSON or not as the vectors say") {
    const Json file = vectors("json_texts.json");
    for (const Json& entry : file.at("read")) {
        const std::string text = entry;
        CAPTURE(text);
        CHECK(parse_json(text) == Json::parse(text));
    }
    for (const Json& entry : file.at("refused")) {
        const std::string text = entry;
        CAPTURE(text);
        CHECK_THROWS_AS(parse_json(text), std::invalid_argument);
    }
}

TEST_CASE("what is no regular file, or too large, is not read") {
    CHECK_THROWS_WITH_AS(read_json_file(kSpecFolder / "grouping.json", 100), doctest::Contains("more than the 100"),
                         trbert::Error);
    CHECK_THROWS_WITH_AS(read_json_file(kSpecFolder, 100), doctest::Contains("not a regular file"), trbert::Error);
    CHECK_THROWS_WITH_AS(read_json_file("/dev/zero", 100), doctest::Contains("not a regular file"), trbert::Error);
}

TEST_CASE("messages hold no bytes of what was malformed") {
    for (const char* text : {"\xff", "{\"a\": \"\xed\xa0\x80\"}", "\x01", "{\"\\n\": 1, \"\\n\": 2}"}) {
        try {
            parse_json(text);
            FAIL("not refused");
        } catch (const std::invalid_argument& failure) {
            for (const char byte : std::string(failure.what())) CHECK((byte >= ' ' && byte <= '~'));
        }
    }
}
