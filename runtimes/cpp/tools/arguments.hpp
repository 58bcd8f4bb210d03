// The command line of trbert-run.
#pragma once

#include <stdexcept>
#include <string>
#include <trbert/trbert.hpp>
#include <vector>

namespace tool {

extern const char* const kUsage;

struct Usage : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Arguments {
    std::string bundle, data;
    std::vector<std::string> texts;
    trbert::Options options;
    std::size_t batch_size = 32, rounds = 0;
    bool verify = false;
};

// Throws Usage.
Arguments parse(const std::vector<std::string>& words);

}  // namespace tool
