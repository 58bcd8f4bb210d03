#include "sha256.hpp"

#include <openssl/evp.h>

#include <fstream>
#include <memory>
#include <vector>

namespace trbert::internal {

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
    std::string hexadecimal;
    for (unsigned place = 0; place < length; ++place) {
        hexadecimal += "0123456789abcdef"[bytes[place] >> 4];
        hexadecimal += "0123456789abcdef"[bytes[place] & 0xF];
    }
    return hexadecimal;
}

}  // namespace trbert::internal
