// SHA-256 by OpenSSL, for checking a bundle's files.
#pragma once

#include <filesystem>
#include <string>

namespace trbert::internal {

// Hexadecimal SHA-256 of a file, "" where it cannot be read.
std::string sha256_of(const std::filesystem::path& path);

}  // namespace trbert::internal
