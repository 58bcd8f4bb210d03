#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>

#include "manifest.hpp"
#include "sha256.hpp"
#include "trbert/trbert.hpp"

using namespace trbert::internal;
namespace fs = std::filesystem;

TEST_CASE("a bundle is opened and its hashes agree") {
    const Bundle bundle = open_bundle(std::getenv("TRBERT_TEST_BUNDLE"), true);
    CHECK(bundle.task->name == "sequence-classification");
    CHECK(bundle.stages.size() == bundle.reductions + 1);
    CHECK(bundle.tokenizer.has_value());
    CHECK(bundle.dense.has_value());
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
