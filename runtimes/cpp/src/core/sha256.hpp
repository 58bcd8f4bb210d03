// SHA-256 by OpenSSL, in hexadecimal.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace trbert::internal {

// Of a file; "" where it cannot be read.
std::string sha256_of(const std::filesystem::path& path);

// Of bytes. Throws Error (runtime) where OpenSSL cannot.
std::string sha256_of_bytes(std::string_view bytes);

}  // namespace trbert::internal
