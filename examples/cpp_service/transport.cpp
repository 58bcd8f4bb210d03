#include "transport.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <stdexcept>
#include <string>
#include <utility>

namespace service {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

}  // namespace

struct Transport::Tls {
    asio::ssl::stream<tcp::socket&> stream;
};

Transport::Transport(tcp::socket socket, asio::ssl::context* tls) : socket_(std::move(socket)) {
    if (tls != nullptr) tls_.reset(new Tls{{socket_, *tls}});
}

Transport::~Transport() = default;

void Transport::handshake(Ended ended) {
    if (tls_) return tls_->stream.async_handshake(asio::ssl::stream_base::server, std::move(ended));
    asio::post(socket_.get_executor(), [ended = std::move(ended)] { ended({}); });
}

void Transport::read(asio::mutable_buffer room, Read read) {
    if (tls_) tls_->stream.async_read_some(room, std::move(read));
    else socket_.async_read_some(room, std::move(read));
}

void Transport::write(asio::const_buffer bytes, Ended ended) {
    auto done = [ended = std::move(ended)](const Error& error, std::size_t) { ended(error); };
    if (tls_) asio::async_write(tls_->stream, bytes, std::move(done));
    else asio::async_write(socket_, bytes, std::move(done));
}

void Transport::finish(Ended ended) {
    auto shut = [this, ended = std::move(ended)](const Error&) {
        Error error;
        socket_.shutdown(tcp::socket::shutdown_send, error);
        ended(error);
    };
    if (tls_) return tls_->stream.async_shutdown(std::move(shut));
    asio::post(socket_.get_executor(), [shut = std::move(shut)]() mutable { shut({}); });
}

void Transport::skip(asio::mutable_buffer room, Read read) { socket_.async_read_some(room, std::move(read)); }

void Transport::cancel() {
    Error ignored;
    socket_.cancel(ignored);
}

void Transport::close() {
    Error ignored;
    socket_.close(ignored);
}

asio::ssl::context tls_context(const std::string& certificate, const std::string& key) {
    asio::ssl::context context(asio::ssl::context::tls_server);
    SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
    SSL_CTX_set_options(context.native_handle(), SSL_OP_NO_RENEGOTIATION);
    Transport::Error error;
    context.use_certificate_chain_file(certificate, error);
    if (error) throw std::runtime_error("no certificate can be read from " + certificate + ": " + error.message());
    context.use_private_key_file(key, asio::ssl::context::pem, error);
    if (error) throw std::runtime_error("no key of that certificate can be read from " + key + ": " + error.message());
    return context;
}

}  // namespace service
