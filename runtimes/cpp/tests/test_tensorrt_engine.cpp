// TensorRT itself, as far as it goes without a GPU.
#include <doctest/doctest.h>

#include <cstdlib>
#include <functional>
#include <optional>

#include "tensorrt/cuda.hpp"
#include "tensorrt/engine.hpp"
#include "trbert/trbert.hpp"

using namespace trbert::internal;

namespace {

// The error's code; none where there is no error.
std::optional<trbert::ErrorCode> code_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const trbert::Error& failure) {
        return failure.code();
    }
    return std::nullopt;
}

}  // namespace

TEST_CASE("TensorRT refuses what is no engine, and says why") {
    CHECK(tensorrt_version().find('.') != std::string::npos);
    CHECK(code_of([] { load_tensorrt_engine({}, "rubbish"); }) == trbert::ErrorCode::bundle);
}

TEST_CASE("without a GPU there is an error, nothing else runs instead") {
    const auto looked = code_of([] { look_here(); });
    if (!looked) return;  // there is one
    CHECK(looked == trbert::ErrorCode::device);
    CHECK(code_of([] { open_device(); }) == trbert::ErrorCode::device);
    trbert::Options options;
    options.runtime = "trt";
    CHECK(code_of([&] { trbert::Engine(std::getenv("TRBERT_TEST_BUNDLE"), options); }) == trbert::ErrorCode::device);
}
