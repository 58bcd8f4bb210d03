// Open a bundle: the rules of trbert_deploy/bundle/reader.py.
#pragma once

#include <filesystem>

#include "bundle/manifest.hpp"

namespace trbert::internal {

// Open a bundle of schema 1.x or 2.x: the manifest is valid and every file there in its full size; with `check_sha256`
// every byte is read and compared. Throws Error (bundle).
Bundle open_bundle(const std::filesystem::path& folder, bool check_sha256);

}  // namespace trbert::internal
