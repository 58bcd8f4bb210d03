// Mistakes that a sanitizer has to find, to see that it would. Skipped, but where `--no-skip -tc=planted*` asks for
// them.
#include <doctest/doctest.h>

#include <limits>
#include <memory>
#include <thread>

TEST_CASE("planted race" * doctest::skip()) {
    int shared = 0;
    const auto write = [&] {
        for (int round = 0; round < 1000; ++round) ++shared;
    };
    std::thread one(write), other(write);
    one.join();
    other.join();
    CHECK(shared > 0);
}

TEST_CASE("planted read behind the end" * doctest::skip()) {
    const auto numbers = std::make_unique<int[]>(4);
    const volatile std::size_t behind = 4;
    CHECK(numbers[behind] != 1);
}

TEST_CASE("planted overflow" * doctest::skip()) {
    volatile int largest = std::numeric_limits<int>::max();
    CHECK(largest + 1 != 1);
}
