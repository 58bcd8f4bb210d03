// The HTTP/1.1 server: who may connect, how much and how long a request may be, and how it ends.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <unordered_set>

#include "connection.hpp"
#include "http.hpp"
#include "server_options.hpp"

namespace service {

class Server {
public:
    // Listens. Throws std::runtime_error where the port is taken, or the certificate is none.
    Server(boost::asio::io_context& io, const ServerOptions& options, Handler& handler);

    int port() const { return acceptor_.local_endpoint().port(); }

    // Go on for `drain`, then listen no more, answer whoever has connected by then, and let `io` run out of work.
    void stop(std::chrono::seconds drain);

private:
    void accept();
    void open(boost::asio::ip::tcp::socket socket);
    void on_closed(const std::shared_ptr<Connection>& connection);
    void stop_listening();

    Shared shared_;
    boost::asio::ip::tcp::acceptor acceptor_;
    boost::asio::steady_timer pause_, drain_;  // until it accepts again, and until it stops
    std::unordered_set<std::shared_ptr<Connection>> connections_;
    bool full_ = false;  // it accepts again when a connection closes
};

}  // namespace service
