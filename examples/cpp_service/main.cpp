// trbert-service: a bundle behind HTTP.
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <iostream>

#include "server.hpp"
#include "service.hpp"

namespace {

void serve(const service::Options& options) {
    boost::asio::io_context io(1);
    service::Service service(options);
    service::Server server(io, options.server, service);
    boost::asio::signal_set signals(io, SIGTERM, SIGINT);
    signals.async_wait([&](const boost::system::error_code&, int) {
        signals.clear();  // the next one ends it at once
        service.fail_health();
        server.stop(options.drain_time);
    });
    const char* const scheme = options.server.certificate.empty() ? "http://" : "https://";
    std::cout << "listening on " << scheme << options.server.host << ":" << server.port() << std::endl;
    io.run();
}

}  // namespace

int main(int count, char** words) {
    try {
        const std::vector<std::string> given(words + 1, words + count);
        if (std::find(given.begin(), given.end(), "--help") != given.end()) {
            std::cout << service::kUsage;
            return 0;
        }
        serve(service::parse(given));
        return 0;
    } catch (const service::Usage& failure) {
        std::cerr << "error: " << failure.what() << "\n\n" << service::kUsage;
        return 2;
    } catch (const std::exception& failure) {
        std::cerr << "error: " << failure.what() << '\n';
        return 1;
    }
}
