#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "refusal.hpp"
#include "trbert/trbert.hpp"

namespace {

std::string bundle() {
    const char* folder = std::getenv("TRBERT_TEST_BUNDLE");
    REQUIRE(folder != nullptr);
    return folder;
}

trbert::Options options(trbert::Mode mode) {
    trbert::Options chosen;
    chosen.mode = mode;
    chosen.threads = 2;
    return chosen;
}

std::vector<std::string> items() {
    std::vector<std::string> texts;
    for (std::size_t size = 0; size < 24; ++size)
        texts.push_back(R"({"text": ")" + std::string(size * 5 % 37, 'a') + R"( film."})");
    return texts;
}

}  // namespace

TEST_CASE("it proves itself") {
    for (const trbert::Mode mode : {trbert::Mode::staged, trbert::Mode::fused}) {
        const trbert::Engine engine(bundle(), options(mode));
        const trbert::Verification verification = engine.verify();
        CHECK(verification.passed());
        CHECK(verification.rows > 4);
    }
}

TEST_CASE("several threads use one engine, others load and close theirs") {
    const trbert::Engine engine(bundle(), options(trbert::Mode::staged));
    const std::vector<std::string> asked = items(), wanted = engine.predict(asked);
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 8; ++thread) {
        threads.emplace_back([&, thread] {
            try {
                for (int round = 0; round < 6; ++round) {
                    if (thread == 0) trbert::Engine(bundle(), options(trbert::Mode::fused)).predict({asked[1]});
                    if (engine.predict(asked) != wanted) ++wrong;
                    if (thread % 2 && !engine.verify().passed()) ++wrong;
                }
            } catch (const std::exception&) {
                ++wrong;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}

TEST_CASE("options that do not go together are refused, and the pool goes with the last engine") {
    {
        const trbert::Engine engine(bundle(), options(trbert::Mode::staged));
        trbert::Options other = options(trbert::Mode::staged);
        other.threads = 3;
        CHECK(refusal_of(other) == trbert::ErrorCode::configuration);
        other.threads = 0;
        CHECK_NOTHROW(trbert::Engine(bundle(), other));  // the pool's size
        other.share_pool = false;
        CHECK(refusal_of(other) == trbert::ErrorCode::configuration);
    }
    trbert::Options own = options(trbert::Mode::staged);
    own.share_pool = false;
    own.threads = 1;
    CHECK(trbert::Engine(bundle(), own).verify().passed());
    own.threads = -1;
    CHECK(refusal_of(own) == trbert::ErrorCode::configuration);
    trbert::Options elsewhere = options(trbert::Mode::staged);
    elsewhere.device = "tpu";
    CHECK(refusal_of(elsewhere) == trbert::ErrorCode::device);
    CHECK(trbert::Engine(bundle(), options(trbert::Mode::staged)).verify().passed());
}

TEST_CASE("items are prepared apart and answered together as alone") {
    const trbert::Engine engine(bundle(), options(trbert::Mode::staged));
    std::vector<trbert::Prepared> prepared;
    for (const std::string& item : items()) prepared.push_back(engine.prepare(item));
    CHECK(prepared[7].tokens > prepared[0].tokens);
    CHECK(engine.answer(prepared) == engine.predict(items()));
    CHECK(engine.answer({}).empty());
    CHECK_THROWS_AS(engine.answer({trbert::Prepared()}), trbert::Error);
    CHECK_THROWS_WITH_AS(engine.prepare("{"), doctest::Contains("the item"), trbert::Error);
}

TEST_CASE("engines can be moved") {
    trbert::Engine one(bundle(), options(trbert::Mode::staged));
    trbert::Engine other = std::move(one);
    one = trbert::Engine(bundle(), options(trbert::Mode::fused));
    CHECK(one.predict({items()[3]}).size() == 1);
    CHECK(other.description().has_tokenizer);
}

TEST_CASE("texts are refused where they do not fit, the engine lives on") {
    const trbert::Engine engine(bundle(), options(trbert::Mode::staged));
    CHECK_THROWS_AS(engine.tokenize({}), trbert::Error);
    CHECK_THROWS_WITH_AS(engine.tokenize({{"fine"}, {"\xff"}}), doctest::Contains("text 1"), trbert::Error);
    CHECK_THROWS_AS(engine.run({}), trbert::Error);
    const trbert::Batch batch = engine.tokenize({{"a film"}, {std::string(5000, '.'), "and its pair"}});
    CHECK(batch.truncated == std::vector<bool>{false, true});
    const trbert::Output output = engine.run(batch.inputs);
    CHECK(output.at("logits").shape.front() == 2);
    CHECK(output.kept.empty());
    CHECK(engine.run(batch.inputs, true).kept.size() == engine.description().reductions);
}
