// What the fuzz targets share. trbert::Error is a fine answer to anything; every other exception is a finding.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

// A bundle with a tokenizer: the environment variable TRBERT_TEST_BUNDLE.
inline std::filesystem::path test_bundle() {
    const char* folder = std::getenv("TRBERT_TEST_BUNDLE");
    if (folder == nullptr) throw std::runtime_error("set TRBERT_TEST_BUNDLE to a bundle with a tokenizer");
    return folder;
}

// What must hold whatever the input: stops the fuzzer where it does not.
inline void require(bool condition) {
    if (!condition) std::abort();
}
