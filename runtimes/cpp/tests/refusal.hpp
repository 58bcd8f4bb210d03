// Why an engine of the tests' bundle is refused.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>

#include "trbert/trbert.hpp"

inline trbert::ErrorCode refusal_of(const trbert::Options& options) {
    try {
        trbert::Engine engine(std::getenv("TRBERT_TEST_BUNDLE"), options);
    } catch (const trbert::Error& failure) {
        return failure.code();
    }
    FAIL("not refused");
    return {};
}
