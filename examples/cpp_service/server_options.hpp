// What a server lets happen.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace service {

struct ServerOptions {
    std::string host = "127.0.0.1";
    int port = 8080;
    std::string certificate, key;                   // files in PEM; empty: without TLS
    std::size_t connections = 512, requests = 128;  // at a time
    std::size_t max_header_bytes = 8192, max_body_bytes = 1024 * 1024;
    // For a connection to wait for its next request, for headers and for a body to arrive, for an answer to be taken.
    std::chrono::seconds idle_time{5}, header_time{5}, body_time{5}, write_time{30};
};

}  // namespace service
