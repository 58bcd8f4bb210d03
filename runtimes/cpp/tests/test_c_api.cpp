#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "trbert/trbert.h"

TEST_CASE("null pointers are errors") {
    trbert_engine* engine = nullptr;
    trbert_output* output = nullptr;
    char* answers = nullptr;
    const std::int64_t* positions = nullptr;
    std::size_t count = 0;
    CHECK(trbert_load(nullptr, nullptr, &engine) == TRBERT_INPUT);
    CHECK(trbert_load("bundle", nullptr, nullptr) == TRBERT_INPUT);
    CHECK(trbert_predict(nullptr, "", &answers) == TRBERT_INPUT);
    CHECK(trbert_run(nullptr, nullptr, 0, 0, &output) == TRBERT_INPUT);
    CHECK(trbert_output_kept(nullptr, 0, 0, &positions, &count) == TRBERT_INPUT);
    CHECK(trbert_verify(nullptr) == TRBERT_INPUT);
    trbert_free(nullptr);
    trbert_free_output(nullptr);
    trbert_free_text(nullptr);
}

TEST_CASE("the message is the calling thread's") {
    trbert_engine* engine = nullptr;
    CHECK(trbert_load("/nothing/here", nullptr, &engine) == TRBERT_BUNDLE);
    CHECK(std::strstr(trbert_last_error(), "/nothing/here") != nullptr);
    std::thread([] { CHECK(std::strlen(trbert_last_error()) == 0); }).join();
}

TEST_CASE("options reach the engine") {
    trbert_engine* engine = nullptr;
    const auto refusal = [&](const trbert_options& options) {
        CHECK(trbert_load(std::getenv("TRBERT_TEST_BUNDLE"), &options, &engine) == TRBERT_CONFIGURATION);
        return std::string(trbert_last_error());
    };
    trbert_options options{};
    options.runtime = "torch";
    CHECK(refusal(options).find("unknown runtime 'torch'") != std::string::npos);
    options = {};
    options.provider = "openvino";
    CHECK(refusal(options).find("unknown provider 'openvino'") != std::string::npos);
    options.provider = nullptr;
    options.provider_library = "plugin.so";
    CHECK(refusal(options).find("provider_library") != std::string::npos);
}

TEST_CASE("inputs of impossible shapes are errors") {
    trbert_options options{};
    options.threads = 2;
    trbert_engine* engine = nullptr;
    REQUIRE(trbert_load(std::getenv("TRBERT_TEST_BUNDLE"), &options, &engine) == TRBERT_OK);
    const std::int64_t data[] = {2, 5, 3};
    trbert_output* output = nullptr;
    const auto run = [&](std::vector<std::int64_t> shape, const std::int64_t* numbers) {
        const trbert_input input{"input_ids", numbers, shape.data(), shape.size()};
        return trbert_run(engine, &input, 1, 1, &output);
    };
    CHECK(run({-1, 3}, data) == TRBERT_INPUT);
    CHECK(run({INT64_MAX, 2, 2}, data) == TRBERT_INPUT);
    CHECK(run({1, 3}, nullptr) == TRBERT_INPUT);
    CHECK(run({0, 3}, nullptr) == TRBERT_INPUT);
    REQUIRE(run({1, 3}, data) == TRBERT_OK);
    const float* logits = nullptr;
    const std::int64_t* shape = nullptr;
    std::size_t rank = 0;
    REQUIRE(trbert_output_tensor(output, "logits", &logits, &shape, &rank) == TRBERT_OK);
    CHECK(rank == 2);
    CHECK(shape[0] == 1);
    CHECK(trbert_output_tensor(output, "other", &logits, &shape, &rank) == TRBERT_INPUT);
    trbert_free_output(output);
    trbert_free(engine);
}
