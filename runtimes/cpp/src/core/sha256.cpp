#include "core/sha256.hpp"

#include <openssl/evp.h>

#include <fstream>
#include <memory>
#include <vector>

#include "core/errors.hpp"

namespace trbert::internal {
namespace {

std::string hexadecimal(const unsigned char* bytes, unsigned length) {
    std::string text;
    for (unsigned place = 0; place < length; ++place) {
        text += "0123456789abcdef"[bytes[place] >> 4];
        text += "0123456789abcdef"[bytes[place] & 0xF];
    }
    return text;
}

}  // namespace

std::string sha256_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> digest(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    if (!file || !digest || EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr) != 1) return "";
    std::vector<char> block(1 << 20);
    while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
        if (EVP_DigestUpdate(digest.get(), block.data(), static_cast<std::size_t>(file.gcount())) != 1) return "";
    }
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (file.bad() || EVP_DigestFinal_ex(digest.get(), bytes, &length) != 1) return "";
    return hexadecimal(bytes, length);
}

std::string sha256_of_bytes(std::string_view bytes) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr) != 1) {
        throw error(ErrorCode::runtime, "OpenSSL does not compute a SHA-256");
    }
    return hexadecimal(digest, length);
}

}  // namespace trbert::internal
