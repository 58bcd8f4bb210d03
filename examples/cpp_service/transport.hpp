// A connection's bytes, with TLS or without.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <memory>
#include <string>

namespace service {

class Transport {
public:
    using Error = boost::system::error_code;
    using Ended = std::function<void(const Error&)>;
    using Read = std::function<void(const Error&, std::size_t)>;

    // tls: nothing for plain TCP.
    Transport(boost::asio::ip::tcp::socket socket, boost::asio::ssl::context* tls);
    ~Transport();

    // All of these return at once, and call back from the connection's executor. The buffers have to live until then.
    void handshake(Ended ended);
    void read(boost::asio::mutable_buffer room, Read read);
    void write(boost::asio::const_buffer bytes, Ended ended);

    // Say that nothing more will be written.
    void finish(Ended ended);
    // Read what still comes, whatever it is.
    void skip(boost::asio::mutable_buffer room, Read read);

    // What is pending ends with an error.
    void cancel();
    void close();

private:
    struct Tls;
    boost::asio::ip::tcp::socket socket_;
    std::unique_ptr<Tls> tls_;
};

// For TLS 1.2 and 1.3. Throws std::runtime_error where the files, in PEM, hold no certificate with its key.
boost::asio::ssl::context tls_context(const std::string& certificate, const std::string& key);

}  // namespace service
