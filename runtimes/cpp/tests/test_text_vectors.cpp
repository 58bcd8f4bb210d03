// spec/items.json, encoding.json and decoding.json.
#include <doctest/doctest.h>

#include <limits>

#include "bundle/manifest.hpp"
#include "text/decoding.hpp"
#include "text/items.hpp"
#include "text/row_maker.hpp"
#include "text/unicode.hpp"
#include "vectors.hpp"

using namespace trbert::internal;

namespace {

Json as_json(const std::optional<Offsets>& offsets) {
    if (!offsets) return nullptr;
    Json list = Json::array();
    for (const auto& span : *offsets) list.push_back(span ? Json{span->start, span->end} : Json());
    return list;
}

std::string utf8(const std::u32string& text) {
    std::string bytes;
    for (const char32_t code : text) append_utf8(bytes, code);
    return bytes;
}

template <typename Action>
void check_refused(const Json& test, Action action) {
    CHECK_THROWS_WITH_AS(action(), doctest::Contains(test.at("refused").get<std::string>().c_str()), trbert::Error);
}

Row row_of(const Json& facts) {
    Row row;
    for (const auto& [name, array] : facts.at("arrays").items()) row.arrays[name] = integers_of(array);
    row.length = integer(facts.at("length"));
    facts.at("choices").get_to(row.choices);
    const Json* offsets = value_of(facts, "offsets");
    if (offsets == nullptr) return row;
    row.text = decode_utf8(facts.at("text").get<std::string>());
    row.offsets.emplace();
    for (const Json& entry : *offsets)
        row.offsets->push_back(entry.is_null() ? std::nullopt : std::optional(Span{entry[0], entry[1]}));
    return row;
}

// The row's outputs at the second place of a batch whose first row is another.
trbert::Output batch_of(const Json& outputs) {
    trbert::Output batch;
    for (const auto& [name, array] : outputs.items()) {
        const trbert::Tensor<float> row = floats_of(array);
        trbert::Tensor<float>& whole = batch[name];
        whole.shape = row.shape;
        whole.shape.insert(whole.shape.begin(), 2);
        for (const float value : row.data) whole.data.push_back(7.0F - value);
        whole.data.insert(whole.data.end(), row.data.begin(), row.data.end());
    }
    return batch;
}

// Equal but for the last digits of numbers; the order of keys counts.
void check_same(const Prediction& given, const Prediction& wanted) {
    if (wanted.is_number_float()) {
        CHECK(given.get<double>() == doctest::Approx(wanted.get<double>()).epsilon(1e-9));
    } else if (wanted.is_structured() && given.type() == wanted.type() && given.size() == wanted.size()) {
        for (auto one = given.begin(), other = wanted.begin(); one != given.end(); ++one, ++other) {
            if (wanted.is_object()) CHECK(one.key() == other.key());
            check_same(*one, *other);
        }
    } else {
        CHECK(given == wanted);
    }
}

}  // namespace

TEST_CASE("items are understood as the vectors say") {
    const Json file = vectors("items.json");
    for (const Json& test : file.at("cases")) {
        CAPTURE(test.dump());
        const TaskSpec task = task_of(file, test);
        const std::string json = test.at("item").dump();
        if (test.contains("refused")) {
            check_refused(test, [&] { read_item(task, json, "item 0"); });
            continue;
        }
        const Item item = read_item(task, json, "item 0");
        Json parts = Json::object();
        for (const TextPart& part : item.parts) parts[part.key] = part.texts;
        CHECK(parts == test.value("parts", Json::object()));
        CHECK(as_lists(item.arrays) == test.value("arrays", Json::object()));
        CHECK(as_json(item.offsets) == test.value("offsets", Json()));
        if (item.offsets) CHECK(utf8(item.context) == test.at("context"));
    }
}

TEST_CASE("texts become rows as the vectors say") {
    const Json file = vectors("encoding.json");
    for (const Json& test : file.at("cases")) {
        CAPTURE(test.dump());
        Bundle bundle;
        bundle.folder = kSpecFolder;
        bundle.task = task_of(file, test);
        bundle.tokenizer = {".", integer(test.at("room"))};
        const RowMaker maker(bundle);
        REQUIRE(maker.takes_text());
        const auto make = [&] { return maker.make(read_item(bundle.task, test.at("item"), "item 0")); };
        if (test.contains("refused")) {
            check_refused(test, make);
            continue;
        }
        const Row row = make();
        const Json& wanted = test.at("row");
        CHECK(as_lists(row.arrays) == wanted.at("arrays"));
        CHECK(row.length == integer(wanted.at("length")));
        CHECK(row.truncated == wanted.at("truncated").get<bool>());
        CHECK(row.empty == wanted.at("empty").get<bool>());
        CHECK(as_json(row.offsets) == wanted.at("offsets"));
        if (row.offsets) CHECK(utf8(row.text) == wanted.at("text"));
        CHECK(row.choices == wanted.at("choices").get<std::vector<std::string>>());
    }
}

TEST_CASE("outputs become predictions as the vectors say") {
    const Json file = vectors("decoding.json");
    const auto ordered = ordered_vectors("decoding.json").at("cases");
    for (std::size_t number = 0; number < ordered.size(); ++number) {
        const Json& test = file.at("cases")[number];
        CAPTURE(test.dump());
        const TaskSpec task = task_of(file, test);
        const Decoder decode(task, test.at("labels"));
        if (test.contains("refused")) {
            check_refused(test, [&] { decode.require(); });
            continue;
        }
        CHECK_NOTHROW(decode.require());
        check_same(decode(row_of(test.at("row")), batch_of(test.at("outputs")), 1), ordered[number].at("prediction"));
    }
}

TEST_CASE("outputs that are not finite, or too few, are no answer") {
    const Json file = vectors("decoding.json");
    Row row;
    row.name = "item 3";
    row.length = 4;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const trbert::Output output = [&] {
        trbert::Output batch;
        batch["logits"] = {{2, 2}, {1, nan, 3, 4}};
        batch["start_logits"] = batch["end_logits"] = {{2, 3}, {1, 2, 3, 4, 5, 6}};
        return batch;
    }();
    CHECK_THROWS_WITH_AS(Decoder::require_finite(row, output, 0),
                         doctest::Contains("item 3: the model's output logits is not finite"), trbert::Error);
    CHECK_NOTHROW(Decoder::require_finite(row, output, 1));
    const Decoder decode(read_task(file.at("tasks").at("question-answering")), {});
    CHECK_THROWS_WITH_AS(decode(row, output, 1), doctest::Contains("too few numbers of start_logits"), trbert::Error);
}
