#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>

#include "bundle/check_task.hpp"
#include "bundle/golden.hpp"
#include "bundle/reader.hpp"
#include "bundle/schema_1.hpp"
#include "core/sha256.hpp"
#include "trbert/trbert.hpp"
#include "vectors.hpp"

using namespace trbert::internal;
namespace fs = std::filesystem;

namespace {

const fs::path kOldBundles = fs::path(TRBERT_FIXTURES_FOLDER) / "schema_1";

Bundle old_bundle(const std::string& name) { return open_bundle(kOldBundles / name, true); }

}  // namespace

TEST_CASE("a bundle is opened and its hashes agree") {
    const Bundle bundle = open_bundle(std::getenv("TRBERT_TEST_BUNDLE"), true);
    CHECK(bundle.task.name == "sequence-classification");
    CHECK(bundle.stages.size() == bundle.reductions() + 1);
    CHECK(bundle.tokenizer.has_value());
    CHECK(bundle.dense.has_value());
}

TEST_CASE("bundles of schema 1 say by its table what they leave unsaid") {
    const Bundle classes = old_bundle("sequence-classification");
    CHECK(classes.task.decoding.parameters.at("activation") == "softmax");
    CHECK(classes.task.input("token_type_ids") == nullptr);
    CHECK(classes.task.inputs.front().maximum == 119);
    CHECK(!classes.reduction.full_length);
    CHECK(!classes.reduction.by_budget());
    CHECK(classes.stages[1].inputs.front().name == "hidden_states");
    CHECK(classes.stages[1].inputs.front().axes == Axes{{"batch_before"}, {"length"}, {"", 32}});
    const Bundle answers = old_bundle("question-answering");
    CHECK(answers.reduction.fractions == std::vector<double>{0.4, 0.15});
    CHECK(answers.reduction.full_length);
    CHECK(answers.task.output("start_logits")->padding == -10000.0F);
    const Bundle choices = old_bundle("multiple-choice");
    CHECK(choices.task.sequences_axis == "options");
    CHECK(choices.task.protected_from == "question_ends");
    CHECK(choices.task.input("question_ends")->key == "question_end");
    CHECK(choices.task.input("token_type_ids")->axes == Axes{{"batch"}, {"options"}, {"length"}});
    CHECK(choices.fused.outputs.back().axes == Axes{{"batch_before"}, {"length"}});
}

TEST_CASE("bundles of schema 1 prove themselves") {
    for (const char* name : {"sequence-classification", "question-answering", "multiple-choice"}) {
        for (const trbert::Mode mode : {trbert::Mode::staged, trbert::Mode::fused}) {
            CAPTURE(name);
            trbert::Options options;
            options.mode = mode;
            options.threads = 2;
            const trbert::Verification found = trbert::Engine((kOldBundles / name).string(), options).verify();
            CHECK(found.complaints == std::vector<std::string>());
            CHECK(found.rows > 4);
        }
    }
}

TEST_CASE("a single label of schema 1 was never a choice, and unknown tasks are none") {
    Json manifest = read_json_file(kOldBundles / "sequence-classification" / "manifest.json");
    manifest["model"]["labels"] = {"score"};
    CHECK(from_schema_1(manifest).at("task").at("decoding").at("parameters").at("activation") == "identity");
    manifest["precision"] = "fp16";
    CHECK(from_schema_1(manifest).at("stages")[1].at("inputs")[0].at("dtype") == "float16");
    manifest["task"] = "poetry";
    CHECK_THROWS_WITH_AS(from_schema_1(manifest), doctest::Contains("unknown task \"poetry\""), std::invalid_argument);
}

TEST_CASE("tasks whose parts do not go together are refused") {
    const Json tasks = vectors("encoding.json").at("tasks");
    const auto refused = [&](const char* name, const std::string& pointer, const Json& value) {
        Json task = tasks.at(name);
        task[Json::json_pointer(pointer)] = value;
        CAPTURE(pointer);
        CAPTURE(value.dump());
        CHECK_THROWS_AS(check_task(read_task(task)), std::exception);
    };
    for (const Json& task : tasks) CHECK_NOTHROW(check_task(read_task(task)));
    refused("passages", "/inputs/0/name", "ids");
    refused("passages", "/inputs/1/name", "token_type_ids");
    refused("passages", "/inputs/0/axes", {"length", "batch"});
    refused("passages", "/inputs/0/axes", {"batch", "length", "more"});
    refused("passages", "/inputs/1/axes", {"batch", "tokens"});
    refused("passages", "/inputs/2/maximum", nullptr);
    refused("passages", "/inputs/2/maximum", -1);
    refused("passages", "/inputs/3/axes", Json::array());
    refused("passages", "/inputs/3/axes", {"batch", 0});
    refused("passages", "/inputs/3/axes", {"batch", 1.5});
    refused("passages", "/inputs/3/maximum_from_length", std::int64_t{1} << 62);
    refused("passages", "/max_length", 0);
    refused("passages", "/outputs", Json::array());
    refused("passages", "/outputs/0/axes", {"labels"});
    refused("passages", "/protected_from", "nothing");
    refused("passages", "/protected_from", "boxes");
    refused("passages", "/sequences_axis", "shapes");
    refused("passages", "/decoding/parameters", 3);
    refused("passages", "/text/truncation", "shortest_first");
    refused("passages", "/text/truncation", "longest_first");  // of three parts
    refused("passages", "/text/cut", nullptr);
    refused("passages", "/text/cut", "title");  // which an item may lack
    refused("passages", "/text/offsets", "nothing");
    refused("passages", "/text/each", "body");
    refused("passages", "/text/ends/boxes", "query");
    refused("passages", "/text/ends/query_end", "title");
    refused("passages", "/text/segments/2/tokens", {"<sep>"});
    refused("multiple-choice", "/sequences_axis", nullptr);
    refused("multiple-choice", "/sequences_axis", "length");
    refused("multiple-choice", "/text/each", nullptr);
}

TEST_CASE("SHA-256 of known texts") {  // FIPS 180-4, appendix B
    const fs::path path = fs::temp_directory_path() / "trbert-sha256-test";
    const auto hash_of = [&](const std::string& text) {
        std::ofstream(path, std::ios::binary) << text;
        return sha256_of(path);
    };
    CHECK(hash_of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(hash_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(hash_of(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    fs::remove(path);
    CHECK(sha256_of(path).empty());
}
