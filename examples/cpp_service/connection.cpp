#include "connection.hpp"

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>

namespace service {
namespace {

namespace asio = boost::asio;

// For what nobody wants any more to come, for the other side to close, and for everything once the server stops.
constexpr std::chrono::seconds kGrace{1};
// Of what comes after the end.
constexpr std::size_t kMostSkipped = 1024 * 1024;

}  // namespace

Connection::Connection(Shared& shared, asio::ip::tcp::socket socket)
    : shared_(shared),
      transport_(std::move(socket), shared.tls ? &*shared.tls : nullptr),
      timer_(shared.io),
      work_(shared.io.get_executor()) {}

void Connection::start() {
    enter(Phase::handshake, shared_.options.header_time);
    transport_.handshake([self = shared_from_this()](const Error& error) {
        if (error) self->close();
        else self->next_request();
    });
}

void Connection::hurry() {
    if (phase_ >= Phase::answer) return;
    deadline_ = std::min(deadline_, *shared_.stopped + kGrace);
    wait();
}

void Connection::next_request() {
    reader_.emplace(shared_.options.max_header_bytes, shared_.options.max_body_bytes);
    refusal_.reset();
    read_ = 0;
    enter(Phase::idle, shared_.options.idle_time);
    advance();
}

// Takes what has been read, or reads more.
void Connection::advance() {
    if (input_.empty()) return read();
    if (phase_ == Phase::idle) enter(Phase::head, shared_.options.header_time);
    if (phase_ == Phase::head) take_head();
    else take_body();
}

void Connection::take_head() {
    started_ = Clock::now();
    try {
        input_.erase(0, reader_->take(input_));
    } catch (const Refusal& refusal) {
        return refuse(refusal);
    }
    if (!reader_->has_head()) return read();
    try {
        admit();
    } catch (const Refusal& refusal) {
        refusal_ = refusal;
    }
    if (reader_->whole()) return answer();
    const bool kept = counted_;
    const bool waits = reader_->waits_for_continue() && input_.empty();
    if (!kept && (waits || reader_->declared().value_or(0) > most_dropped())) return answer();
    enter(kept ? Phase::body : Phase::dropped, kept ? Clock::duration(shared_.options.body_time) : kGrace);
    if (!waits) return advance();
    output_ = "HTTP/1.1 100 Continue\r\n\r\n";
    transport_.write(asio::buffer(output_), [self = shared_from_this()](const Error& error) {
        if (error) self->close();
        else self->advance();
    });
}

// Whether the headers are those of a request that is answered. Of other methods a body is read, and dropped.
void Connection::admit() {
    const Head& head = reader_->head();
    shared_.handler.admit(head);
    if (head.method != "POST") return;
    const std::size_t most = shared_.options.max_body_bytes;
    if (reader_->declared().value_or(0) > most) throw too_large(most);
    reader_->keep_body();
    if (shared_.requests == shared_.options.requests) throw Refusal(429, kTooMany);
    ++shared_.requests;
    counted_ = true;
}

void Connection::take_body() {
    try {
        const std::size_t taken = reader_->take(input_);
        input_.erase(0, taken);
        read_ += taken;
        // What is left is then the line before a chunk, or lines behind the last one.
        const bool large = !reader_->whole() && input_.size() > shared_.options.max_header_bytes;
        if (large) throw Refusal(400, "a line between chunks is too long");
    } catch (const Refusal& refusal) {
        return refuse(refusal);
    }
    if (!refusal_ && reader_->complaint()) {
        refusal_ = reader_->complaint();
        enter(Phase::dropped, kGrace);
    }
    if (reader_->whole() || (phase_ == Phase::dropped && read_ > most_dropped())) answer();
    else read();
}

void Connection::answer() {
    const bool whole = reader_->whole();  // else what comes next on the connection is no request
    if (refusal_) return reply(reply_to(*refusal_), !whole);
    std::string body;
    try {
        body = reader_->take_body();
    } catch (const Refusal& refusal) {
        return reply(reply_to(refusal), false);
    }
    phase_ = Phase::answer;
    timer_.cancel();
    shared_.handler.answer(reader_->head(), std::move(body), [self = shared_from_this(), whole](Reply reply) {
        auto& io = self->shared_.io;
        asio::post(io, [self, whole, reply = std::move(reply)] { self->reply(reply, !whole); });
    });
}

void Connection::read() {
    if (late_) return on_late();
    transport_.read(asio::buffer(room_), [self = shared_from_this()](const Error& error, std::size_t size) {
        self->input_.append(self->room_.data(), size);
        if (!error) self->advance();
        else if (self->late_) self->on_late();
        else if (error == asio::error::eof || error == asio::ssl::error::stream_truncated) self->on_end();
        else self->close();
    });
}

// The other side sends no more.
void Connection::on_end() {
    if (phase_ == Phase::idle) end();
    else if (phase_ == Phase::dropped) answer();
    else refuse({400, "the request ends early"});
}

// The time of the phase is over.
void Connection::on_late() {
    const ServerOptions& options = shared_.options;
    const auto late = [](const std::string& part, std::chrono::seconds time) {
        return Refusal(408, "the " + part + " took longer than " + std::to_string(time.count()) + " seconds");
    };
    if (phase_ == Phase::idle) end();
    else if (phase_ == Phase::dropped) answer();
    else if (shared_.stopped) refuse({503, "stopping"});
    else if (phase_ == Phase::head) refuse(late("headers", options.header_time));
    else refuse(late("body", options.body_time));
}

// Of what comes next on the connection nobody knows where a request begins.
void Connection::refuse(const Refusal& refusal) { reply(reply_to(refusal), true); }

void Connection::reply(const Reply& reply, bool close) {
    if (counted_) --shared_.requests;
    counted_ = false;
    bool keep = !close && reader_->keeps_alive();
    // Once the server stops, what has come is answered and nothing more is read.
    if (shared_.stopped) keep = keep && !input_.empty() && Clock::now() < *shared_.stopped + kGrace;
    shared_.handler.finished(reader_->head(), reply.status, Clock::now() - started_);
    output_ = text_of(reply, keep, reader_->head().method != "HEAD");
    enter(Phase::write, shared_.options.write_time);
    transport_.write(asio::buffer(output_), [self = shared_from_this(), keep](const Error& error) {
        if (error) self->close();
        else if (keep) self->next_request();
        else self->end();
    });
}

// Closes so that the other side still gets what was written: what it sends meanwhile is read, or the system would reset
// the connection.
void Connection::end() {
    enter(Phase::closing, kGrace);
    read_ = 0;
    transport_.finish([self = shared_from_this()](const Error&) { self->skip(); });
}

void Connection::skip() {
    transport_.skip(asio::buffer(room_), [self = shared_from_this()](const Error& error, std::size_t size) {
        if (error || (self->read_ += size) > kMostSkipped) self->close();
        else self->skip();
    });
}

void Connection::close() {
    if (phase_ == Phase::closed) return;
    phase_ = Phase::closed;
    if (counted_) --shared_.requests;
    counted_ = false;
    timer_.cancel();
    transport_.close();
    work_.reset();
    shared_.closed(shared_from_this());
}

void Connection::enter(Phase phase, Clock::duration time) {
    phase_ = phase;
    late_ = false;
    deadline_ = Clock::now() + time;
    if (shared_.stopped && phase < Phase::answer) {
        const bool between = phase == Phase::idle || phase == Phase::head;
        deadline_ = std::min(deadline_, (between ? *shared_.stopped : Clock::now()) + kGrace);
    }
    wait();
}

void Connection::wait() {
    timer_.expires_at(deadline_);
    timer_.async_wait([self = shared_from_this()](const Error& error) {
        if (!error && Clock::now() >= self->deadline_) self->expire();
    });
}

void Connection::expire() {
    if (phase_ == Phase::answer) return;
    if (phase_ == Phase::handshake || phase_ > Phase::answer) return close();
    late_ = true;
    transport_.cancel();  // what is being read; then comes on_late
}

std::size_t Connection::most_dropped() const { return 2 * shared_.options.max_body_bytes; }

}  // namespace service
