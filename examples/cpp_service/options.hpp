// The command line.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <trbert/trbert.hpp>
#include <vector>

#include "batcher.hpp"
#include "server_options.hpp"

namespace service {

struct Options {
    std::string bundle, api_key_file;
    trbert::Options engine;
    Batcher::Limits limits;
    ServerOptions server;
    std::size_t max_item_bytes = 64 * 1024;
    std::chrono::seconds drain_time{1};  // from the signal to stop until it listens no more
};

struct Usage : std::runtime_error {
    using std::runtime_error::runtime_error;
};

extern const char* const kUsage;

// Throws Usage.
Options parse(const std::vector<std::string>& words);

}  // namespace service
