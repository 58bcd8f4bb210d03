// The HTTP side: requests in, statuses and answers out.
#pragma once

#include <httplib.h>

#include <atomic>
#include <string>
#include <trbert/trbert.hpp>

#include "batcher.hpp"
#include "metrics.hpp"
#include "options.hpp"

namespace service {

class Service {
public:
    // Throws trbert::Error where the bundle cannot be loaded or does not prove itself, std::runtime_error where the
    // port is taken.
    explicit Service(const Options& options);

    int port() const { return port_; }

    // Serve until `stop`, then finish the requests that have begun.
    void run();

    // From another thread, at any time.
    void stop();

private:
    void predict(const httplib::Request& request, httplib::Response& response, const httplib::ContentReader& content);
    std::string receive(const httplib::ContentReader& content, bool wanted, bool& whole) const;
    Batcher::Answers answer(const Batcher::Items& items);

    const Options options_;
    const trbert::Engine engine_;
    Metrics metrics_;
    Batcher batcher_;
    httplib::Server server_;
    socket_t listening_ = INVALID_SOCKET;
    std::atomic<bool> stopping_{false}, done_{false};
    std::atomic<std::size_t> in_flight_{0};  // requests to /predict
    int port_ = -1;
};

}  // namespace service
