// One connection: its requests one after the other, and how long each step of them may take.
#pragma once

#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "http.hpp"
#include "request_reader.hpp"
#include "server_options.hpp"
#include "transport.hpp"

namespace service {

class Connection;

// What the connections of a server share.
struct Shared {
    boost::asio::io_context& io;
    const ServerOptions options;
    Handler& handler;
    std::function<void(const std::shared_ptr<Connection>&)> closed;  // is told of each one
    std::optional<boost::asio::ssl::context> tls;
    std::size_t requests = 0;                  // whose body is kept, up to their answer
    std::optional<Clock::time_point> stopped;  // when the server stopped to listen
};

// Lives as long as something is pending on it. Everything here runs on the thread of `Shared::io`.
class Connection : public std::enable_shared_from_this<Connection> {
public:
    Connection(Shared& shared, boost::asio::ip::tcp::socket socket);
    void start();

    // The server stops: what has begun may go on for a moment.
    void hurry();

private:
    using Error = Transport::Error;
    // What it waits for: TLS; a request; the rest of its headers; of its body; of a body that nobody wants; an answer;
    // that the answer is written; that the other side closes too.
    enum class Phase { handshake, idle, head, body, dropped, answer, write, closing, closed };

    void next_request();
    void advance();
    void take_head();
    void admit();
    void take_body();
    void answer();

    void read();
    void on_end();
    void on_late();

    void refuse(const Refusal& refusal);
    void reply(const Reply& reply, bool close);
    void end();
    void skip();
    void close();

    void enter(Phase phase, Clock::duration time);
    void wait();
    void expire();
    std::size_t most_dropped() const;

    Shared& shared_;
    Transport transport_;
    boost::asio::steady_timer timer_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;  // answers come from elsewhere
    Phase phase_ = Phase::handshake;
    Clock::time_point deadline_, started_;  // of the phase; when the headers were whole
    bool late_ = false;
    bool counted_ = false;  // among the requests that the server answers at a time
    std::array<char, 16384> room_;
    std::string input_, output_;  // read and not yet taken; written
    std::size_t read_ = 0;        // of this body, or of what comes after the end
    std::optional<RequestReader> reader_;
    std::optional<Refusal> refusal_;
};

}  // namespace service
