#include "request_reader.hpp"

#include <algorithm>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <functional>
#include <limits>
#include <utility>

#include "content_decoder.hpp"

namespace service {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using Error = beast::error_code;

// Values of a header, separated by commas: several lines of it mean the same.
std::string values(const http::fields& fields, http::field name) {
    std::string joined;
    const auto [first, last] = fields.equal_range(name);
    for (auto line = first; line != last; ++line) {
        if (line != first) joined += ", ";
        joined.append(line->value().data(), line->value().size());
    }
    return joined;
}

}  // namespace

// Beast's interface for bodies: hands each piece to a function.
struct PiecesBody {
    using value_type = std::function<void(std::string_view)>;

    class reader {
    public:
        template <bool isRequest, typename Fields>
        reader(http::header<isRequest, Fields>&, value_type& take) : take_(take) {}

        template <typename Length>
        void init(const Length&, Error& error) {
            error = {};
        }

        template <typename Buffers>
        std::size_t put(const Buffers& buffers, Error& error) {
            error = {};
            for (const auto piece : beast::buffers_range_ref(buffers)) {
                take_({static_cast<const char*>(piece.data()), piece.size()});
            }
            return beast::buffer_bytes(buffers);
        }

        void finish(Error& error) { error = {}; }

    private:
        value_type& take_;
    };
};

struct RequestReader::Impl {
    Impl(std::size_t most_header, std::size_t most_body) : max_header(most_header), max_body(most_body) {
        parser.header_limit(static_cast<std::uint32_t>(max_header));
        parser.body_limit(std::numeric_limits<std::uint64_t>::max());  // `add` counts what it is decompressed
        parser.get().body() = [this](std::string_view piece) { add(piece); };
    }

    void describe();
    void check_framing() const;
    void add(std::string_view piece);

    const std::size_t max_header, max_body;
    http::request_parser<PiecesBody> parser;
    std::size_t taken = 0;  // of the headers
    Head head;
    std::unique_ptr<ContentDecoder> decoder;  // where the body is kept
    std::string body;
    std::optional<Refusal> complaint;
};

RequestReader::RequestReader(std::size_t max_header, std::size_t max_body)
    : impl_(std::make_unique<Impl>(max_header, max_body)) {}

RequestReader::~RequestReader() = default;

std::size_t RequestReader::take(std::string_view bytes) {
    auto& parser = impl_->parser;
    const bool in_head = !parser.is_header_done();
    Error error;
    const std::size_t taken = parser.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
    if (error == http::error::need_more) error = {};
    if (in_head) {
        // Beast's limit is one for each line, where they come one by one.
        impl_->taken += taken;
        const bool large = impl_->taken + (parser.is_header_done() ? 0 : bytes.size() - taken) > impl_->max_header;
        if (large) error = http::error::header_limit;
        if (error || parser.is_header_done()) impl_->describe();
    }
    if (error == http::error::header_limit) {
        throw Refusal(431, "the headers are larger than " + std::to_string(impl_->max_header) + " bytes");
    }
    if (error) throw Refusal(400, "the request is not understood: " + error.message());
    if (in_head && parser.is_header_done()) {
        impl_->check_framing();
        parser.eager(true);  // from here on as far as the bytes reach
    }
    return taken;
}

bool RequestReader::has_head() const { return impl_->parser.is_header_done(); }

bool RequestReader::whole() const { return impl_->parser.is_done(); }

const Head& RequestReader::head() const { return impl_->head; }

bool RequestReader::keeps_alive() const { return impl_->parser.keep_alive(); }

bool RequestReader::waits_for_continue() const {
    const auto expectation = impl_->parser.get()[http::field::expect];
    return impl_->parser.get().version() == 11 && beast::iequals(expectation, "100-continue");
}

std::optional<std::uint64_t> RequestReader::declared() const {
    const auto length = impl_->parser.content_length();
    return length ? std::optional<std::uint64_t>(*length) : std::nullopt;
}

void RequestReader::keep_body() { impl_->decoder = content_decoder(impl_->head.content_encoding); }

const std::optional<Refusal>& RequestReader::complaint() const { return impl_->complaint; }

std::string RequestReader::take_body() {
    if (impl_->decoder && !impl_->decoder->ended()) {
        throw Refusal(400, "the body is not encoded as its Content-Encoding says: it ends early");
    }
    return std::move(impl_->body);
}

// What is known of the headers so far.
void RequestReader::Impl::describe() {
    const auto& message = parser.get();
    head.method.assign(message.method_string().data(), message.method_string().size());
    head.path.assign(message.target().data(), message.target().size());
    head.path.erase(std::min(head.path.find('?'), head.path.size()));
    head.content_type = values(message, http::field::content_type);
    head.content_encoding = values(message, http::field::content_encoding);
    head.authorization = values(message, http::field::authorization);
}

// Whether it is certain where the body ends. Beast refuses several lengths, and a length beside chunks. Of a
// Transfer-Encoding that is not "chunked" it takes no notice, and the body would be read as the next request; so would
// that of a client which ends its body by closing the connection.
void RequestReader::Impl::check_framing() const {
    const auto& message = parser.get();
    const bool encoded = message.count(http::field::transfer_encoding) > 0;
    const bool sized = message.count(http::field::content_length) > 0;
    if (encoded && (sized || message.version() < 11)) {
        throw Refusal(400, "the request is not understood: it may not have a Transfer-Encoding");
    }
    if (encoded && !beast::iequals(values(message, http::field::transfer_encoding), "chunked")) {
        throw Refusal(501, "the only Transfer-Encoding that is understood is chunked");
    }
    if (message.method() == http::verb::post && !encoded && !sized) {
        throw Refusal(411, "the body's length is missing: Content-Length, or Transfer-Encoding: chunked");
    }
}

void RequestReader::Impl::add(std::string_view piece) {
    if (!decoder || complaint) return;
    try {
        decoder->add(piece, body, max_body);
        if (body.size() > max_body) throw too_large(max_body);
    } catch (const Refusal& refusal) {
        complaint = refusal;
        body = {};
    }
}

}  // namespace service
