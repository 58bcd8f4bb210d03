#include "api_keys.hpp"

#include <openssl/crypto.h>

#include <algorithm>
#include <boost/algorithm/string/predicate.hpp>
#include <boost/algorithm/string/trim.hpp>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace service {
namespace {

constexpr std::size_t kShortest = 16;  // characters: 96 bits of base64

}  // namespace

ApiKeys::ApiKeys(const std::string& file) {
    if (file.empty()) {
        if (const char* key = std::getenv("TRBERT_API_KEY")) add(key, "the environment variable TRBERT_API_KEY");
        return;
    }
    std::ifstream lines(file);
    for (std::string line; std::getline(lines, line);) {
        boost::algorithm::trim(line);
        if (!line.empty()) add(line, file);
    }
    if (keys_.empty()) throw std::runtime_error("no API key can be read from " + file + ". Give it a key a line");
}

void ApiKeys::add(std::string key, const std::string& source) {
    const bool plain = std::all_of(key.begin(), key.end(), [](char letter) { return letter > ' ' && letter < 127; });
    if (!plain || key.size() < kShortest) {
        throw std::runtime_error("an API key in " + source + " is none: it needs " + std::to_string(kShortest) +
                                 " or more characters of ASCII without spaces, such as `openssl rand -hex 32` prints");
    }
    keys_.push_back(std::move(key));
}

bool ApiKeys::admit(const std::string& authorization) const {
    if (keys_.empty()) return true;
    const std::string scheme = "Bearer ";
    if (!boost::algorithm::istarts_with(authorization, scheme)) return false;
    const std::string given = boost::algorithm::trim_copy(authorization.substr(scheme.size()));
    // In the same time wherever two of the same length differ.
    bool found = false;
    for (const std::string& key : keys_) {
        found |= key.size() == given.size() && CRYPTO_memcmp(key.data(), given.data(), key.size()) == 0;
    }
    return found;
}

}  // namespace service
