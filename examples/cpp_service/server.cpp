#include "server.hpp"

#include <linux/filter.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <stdexcept>
#include <utility>

#include "transport.hpp"

namespace service {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Error = boost::system::error_code;

// In which connections that have begun to be made are made.
constexpr std::chrono::milliseconds kHandshake{250};

// Let no connection begin any more: what would begin one, a segment with SYN and without ACK, is dropped, and whoever
// sent it tries again a second later, when nobody listens, or somebody else. Without this the system resets those who
// come between the last `accept` and `close`.
void drop_newcomers(tcp::acceptor& acceptor) {
    std::array<sock_filter, 5> steps{{
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),           // the TCP header's flags
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),        // of them ACK and SYN
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1),  // SYN alone:
        BPF_STMT(BPF_RET | BPF_K, 0),                     // dropped
        BPF_STMT(BPF_RET | BPF_K, 0xffff),                // all others are taken
    }};
    const sock_fprog program{steps.size(), steps.data()};
    setsockopt(acceptor.native_handle(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

}  // namespace

Server::Server(asio::io_context& io, const ServerOptions& options, Handler& handler)
    : shared_{io, options, handler, [this](const auto& connection) { on_closed(connection); }, {}, 0, {}},
      acceptor_(io),
      pause_(io),
      drain_(io) {
    if (!options.certificate.empty()) shared_.tls = tls_context(options.certificate, options.key);
    try {
        const auto found =
            tcp::resolver(io).resolve(options.host, std::to_string(options.port), tcp::resolver::passive);
        acceptor_ = tcp::acceptor(io, found.begin()->endpoint());  // with the system's longest queue
    } catch (const boost::system::system_error& failure) {
        throw std::runtime_error("cannot listen on " + options.host + ":" + std::to_string(options.port) + ": " +
                                 failure.code().message() + ". Choose another one: --port");
    }
    accept();
}

void Server::accept() {
    acceptor_.async_accept([this](const Error& error, tcp::socket socket) {
        if (!error) open(std::move(socket));
        if (!acceptor_.is_open()) return;
        full_ = connections_.size() >= shared_.options.connections;
        if (full_) return;
        if (!error) return accept();
        // Such as too many open files: it will not be over at once.
        pause_.expires_after(std::chrono::milliseconds(100));
        pause_.async_wait([this](const Error&) {
            if (acceptor_.is_open()) accept();
        });
    });
}

void Server::open(tcp::socket socket) {
    Error ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    const auto connection = std::make_shared<Connection>(shared_, std::move(socket));
    connections_.insert(connection);
    connection->start();
}

void Server::on_closed(const std::shared_ptr<Connection>& connection) {
    connections_.erase(connection);
    if (std::exchange(full_, false) && acceptor_.is_open()) accept();
}

void Server::stop(std::chrono::seconds drain) {
    drain_.expires_after(drain);
    drain_.async_wait([this](const Error&) {
        drop_newcomers(acceptor_);
        drain_.expires_after(kHandshake);
        drain_.async_wait([this](const Error&) { stop_listening(); });
    });
}

void Server::stop_listening() {
    shared_.stopped = Clock::now();
    for (const auto& connection : connections_) connection->hurry();
    // Those who wait in the system's queue have asked, as far as they know.
    Error error;
    acceptor_.non_blocking(true, error);
    for (;;) {
        tcp::socket socket = acceptor_.accept(shared_.io, error);
        if (error) break;
        open(std::move(socket));
    }
    acceptor_.close(error);
    pause_.cancel();
}

}  // namespace service
