// The command line.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <trbert/trbert.hpp>
#include <vector>

#include "batcher.hpp"

namespace service {

// Connections that are left to /healthz, /metrics and to refusing, when all others are taken by requests to /predict.
constexpr int kSpareConnections = 8;

struct Options {
    std::string bundle, host = "127.0.0.1";
    int port = 8080;
    trbert::Options engine;
    Batcher::Limits limits;
    std::size_t connections = 128;  // at a time: each keeps a thread
    std::size_t max_body_bytes = 1024 * 1024, max_item_bytes = 64 * 1024;
    std::chrono::seconds body_time{5};  // of a request's body to arrive in
};

struct Usage : std::runtime_error {
    using std::runtime_error::runtime_error;
};

extern const char* const kUsage;

// Throws Usage.
Options parse(const std::vector<std::string>& words);

}  // namespace service
