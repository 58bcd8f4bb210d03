// The process's pool, which comes with its first user and goes with its last.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "onnxruntime/pool.hpp"

using namespace trbert::internal;

namespace {

trbert::Options pool_options(bool shared) {
    trbert::Options options;
    options.threads = 2;
    options.share_pool = shared;
    return options;
}

// Have two threads load and close all the while, so that one closes the last user while the other loads the next.
// Returns how many loads failed but for another kind of pool that is in use, of which both kinds have to be expected.
int failures(int rounds, const std::function<void(const trbert::Options&)>& load, bool first, bool second) {
    std::atomic<int> failed{0};
    std::vector<std::thread> threads;
    for (const bool shared : {first, second}) {
        threads.emplace_back([&, shared] {
            for (int round = 0; round < rounds; ++round) {
                try {
                    load(pool_options(shared));
                } catch (const trbert::Error& failure) {
                    if (first == second || failure.code() != trbert::ErrorCode::configuration) ++failed;
                } catch (const std::exception&) {
                    ++failed;
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    return failed;
}

}  // namespace

TEST_CASE("the last user of a pool goes while another thread loads the next") {
    const auto pool = [](const trbert::Options& options) { Pool::of_process(options); };
    const auto engine = [](const trbert::Options& options) {
        const trbert::Engine loaded(std::getenv("TRBERT_TEST_BUNDLE"), options);
    };
    for (const bool first : {true, false}) {
        for (const bool second : {true, false}) {
            CAPTURE(first);
            CAPTURE(second);
            CHECK(failures(300, pool, first, second) == 0);
            CHECK(failures(10, engine, first, second) == 0);
        }
    }
}

TEST_CASE("users share one pool, and the next of another kind waits for none of them") {
    auto one = Pool::of_process(pool_options(true));
    auto other = Pool::of_process(pool_options(true));
    CHECK(one.get() == other.get());
    one.reset();
    CHECK_THROWS_AS(Pool::of_process(pool_options(false)), trbert::Error);
    other.reset();
    CHECK_NOTHROW(Pool::of_process(pool_options(false)));
}
