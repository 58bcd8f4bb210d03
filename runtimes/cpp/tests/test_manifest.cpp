#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "bundle/check_task.hpp"
#include "bundle/files.hpp"
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

Json manifest_of(const std::string& name) { return read_json_file(kOldBundles / name / "manifest.json", kMostBytes); }
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
    Json manifest = manifest_of("sequence-classification");
    manifest["model"]["labels"] = {"score"};
    CHECK(from_schema_1(manifest).at("task").at("decoding").at("parameters").at("activation") == "identity");
    manifest["precision"] = "fp16";
    CHECK(from_schema_1(manifest).at("stages")[1].at("inputs")[0].at("dtype") == "float16");
    manifest["task"] = "poetry";
    CHECK_THROWS_WITH_AS(from_schema_1(manifest), doctest::Contains("unknown task \"poetry\""), std::invalid_argument);
}

TEST_CASE("tasks are refused where the vectors say that they contradict themselves") {
    const Json file = vectors("specs.json");
    for (const Json& test : file.at("cases")) {
        CAPTURE(test.dump());
        const Json task = file.at("tasks").at(test.at("task").get<std::string>()).patch(test.at("patch"));
        const auto check = [&] { check_task(read_task(task)); };
        if (test.at("accepted").get<bool>()) CHECK_NOTHROW(check());
        else CHECK_THROWS_AS(check(), std::exception);
    }
}

TEST_CASE("manifests that contradict themselves are refused") {
    const Json manifest = from_schema_1(manifest_of("question-answering"));
    CHECK_NOTHROW(read_manifest(manifest));
    const auto refused = [&](const std::string& pointer, const Json& value, const char* what) {
        Json changed = manifest;
        changed[Json::json_pointer(pointer)] = value;
        CAPTURE(pointer);
        CAPTURE(value.dump());
        CHECK_THROWS_WITH_AS(read_manifest(changed), doctest::Contains(what), std::exception);
    };
    refused("/stages", {manifest.at("stages")[0], manifest.at("stages")[2]}, "stages do not fit");
    refused("/reduction/layers", {2, 1}, "must ascend");
    refused("/reduction/layers", {1, 99}, "be the model's");
    refused("/reduction/fractions", {0.4}, "fractions do not fit");
    refused("/reduction/fractions", {0.4, 0.5}, "cannot grow");
    refused("/reduction/fractions", {1.5, 0.5}, "must lie in");
    refused("/reduction/fractions", {0.4, 1e-7}, "must lie in");
    refused("/reduction/fractions", {0.4, true}, "a number is wanted");
    refused("/reduction/mode", "policy", "fractions do not fit");
    refused("/reduction/mode", "both", "unknown mode");
    refused("/reduction/fate", "gone", "unknown fate");
    refused("/costs/reduction_layers", {1, 3}, "the costs are not");
    refused("/model/num_layers", 2, "be the model's");
    refused("/precision", "bf16", "unknown precision");
    refused("/precision", "int8", "quantization is said");
    refused("/stages/0/inputs/0/name", "words", "which nothing gives");
    refused("/stages/0/inputs/1/name", "input_ids", "two tensors of the name");
    refused("/stages/0/outputs/2/name", "others", "gives no keep_count");
    refused("/stages/2/outputs/-", {{"name", "more"}, {"axes", {"batch"}}, {"dtype", "int64"}}, "more than the task's");
    refused("/fused/outputs/0/dtype", "complex64", "unknown type complex64");
    refused("/fused/inputs/0/axes", {"batch", "words"}, "with other axes");
    refused("/fused/file", "nowhere.onnx", "refers to nowhere.onnx");
    refused("/files/model.onnx/sha256", "ABC", "hexadecimal");
    refused("/files/model.onnx/bytes", -1, "must be at least");
    refused("/tokenizer", {{"folder", "tokenizer"}, {"max_length", 8}}, "refers to tokenizer/tokenizer.json");
}

TEST_CASE("files outside the bundle are not taken for its own") {
    for (const char* name : {"a/../../b", "..", "/etc/passwd", "a\\b", "c:b"}) CHECK(!is_inside(std::string(name)));
    CHECK(!is_inside(std::string("a\0b", 3)));
    for (const char* name : {"a", "a/b.onnx", "..a/b", "a..b"}) CHECK(is_inside(name));
    const fs::path folder = fs::temp_directory_path() / ("trbert-links-" + std::to_string(getpid()));
    const fs::path snapshot = folder / "snapshots" / "1";
    fs::create_directories(snapshot / "within");
    std::ofstream(snapshot / "within" / "one") << "12345";
    std::ofstream(folder / "two") << "12345";
    fs::create_symlink("within/one", snapshot / "one");
    fs::create_symlink("../../two", snapshot / "two");
    Bundle bundle;
    bundle.folder = snapshot;
    for (const char* name : {"one", "two", "three", "within"}) bundle.files[name] = {"", 5};
    CHECK(damage(bundle, "one", false).empty());
    CHECK(damage(bundle, "one", true) == "the sha256 of one is not the manifest's");
    CHECK(damage(bundle, "two", false) == "two is a link that leaves the bundle");
    CHECK(damage(bundle, "three", false) == "three is missing");
    CHECK(damage(bundle, "within", false) == "within is not a file");
    fs::create_directories(folder / "blobs");  // as in the cache of the Hugging Face Hub
    CHECK(damage(bundle, "two", false).empty());
    bundle.files["two"].bytes = 4;
    CHECK(damage(bundle, "two", false) == "two has 5 bytes, the manifest says 4");
    fs::remove_all(folder);
}

TEST_CASE("golden vectors that would prove nothing are refused") {
    const Bundle bundle = old_bundle("sequence-classification");
    const trbert::Engine engine((kOldBundles / "sequence-classification").string());
    const auto run = [&](const trbert::Inputs& inputs) { return engine.run(inputs, true); };
    const fs::path path = fs::temp_directory_path() / ("trbert-golden-" + std::to_string(getpid()));
    Bundle elsewhere = bundle;
    elsewhere.folder = path.parent_path();
    elsewhere.golden = path.filename().string();
    const Json golden = read_json_file(bundle.folder / bundle.golden, kMostBytes);
    const auto refused = [&](const std::string& pointer, const Json& value, const char* what) {
        Json changed = golden;
        changed[Json::json_pointer(pointer)] = value;
        std::ofstream(path) << changed;
        CAPTURE(pointer);
        CHECK_THROWS_WITH_AS(replay(elsewhere, run), doctest::Contains(what), trbert::Error);
    };
    refused("/tolerance", 0.1, "tolerance is more than fp32 allows");
    refused("/tolerance", -1, "tolerance is more than fp32 allows");
    refused("/max_flips", 0.01, "max_flips is more than fp32 allows");
    refused("/schema_version", "2.0", "schema_version is not 1.x");
    refused("/batches", Json::array(), "it is empty");
    refused("/batches/0/inputs/input_ids", {{1, 2}}, "holds no golden vectors");
    refused("/batches/0/kept/0/0", {3, 2}, "do not ascend");
    refused("/batches/0/kept/0/0", Json::array(), "do not ascend");
    refused("/batches/0/kept/0/0", {999}, "do not ascend, or are not among");
    refused("/batches/0/kept/0", Json::array(), "another number of rows");
    refused("/batches/0/kept", Json::array(), "another number of reductions");
    refused("/batches/0/outputs/logits/0/0", 1e39, "larger than a float32");
    fs::remove(path);
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
