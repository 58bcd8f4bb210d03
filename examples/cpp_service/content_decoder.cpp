#include "content_decoder.hpp"

#include <brotli/decode.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <boost/algorithm/string/case_conv.hpp>
#include <new>

#include "http.hpp"

namespace service {
namespace {

using Piece = std::array<unsigned char, 16384>;

[[noreturn]] void refuse() { throw Refusal(400, "the body is not encoded as its Content-Encoding says"); }

class Identity : public ContentDecoder {
public:
    void add(std::string_view bytes, std::string& text, std::size_t most) override {
        text.append(bytes.substr(0, most - std::min(most, text.size()) + 1));
    }

    bool ended() const override { return true; }
};

class Gzip : public ContentDecoder {
public:
    Gzip() {
        if (inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();  // 16: gzip alone, not zlib
    }

    ~Gzip() override { inflateEnd(&stream_); }

    void add(std::string_view bytes, std::string& text, std::size_t most) override {
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));  // zlib only reads it
        stream_.avail_in = static_cast<uInt>(bytes.size());
        bool full = false;  // there may be more that it has no room for
        while ((stream_.avail_in > 0 || full) && text.size() <= most) {
            // A gzip file may consist of several.
            if (ended_ && inflateReset(&stream_) != Z_OK) refuse();
            Piece piece;
            stream_.next_out = piece.data();
            stream_.avail_out = piece.size();
            const int state = inflate(&stream_, Z_NO_FLUSH);
            if (state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR) refuse();
            ended_ = state == Z_STREAM_END;
            full = !ended_ && stream_.avail_out == 0;
            text.append(reinterpret_cast<char*>(piece.data()), piece.size() - stream_.avail_out);
        }
    }

    bool ended() const override { return ended_; }

private:
    z_stream stream_{};
    bool ended_ = false;
};

class Brotli : public ContentDecoder {
public:
    Brotli() {
        if (!state_) throw std::bad_alloc();
    }

    void add(std::string_view bytes, std::string& text, std::size_t most) override {
        auto* in = reinterpret_cast<const std::uint8_t*>(bytes.data());
        std::size_t left = bytes.size();
        BrotliDecoderResult result = BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT;
        while (result == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT && text.size() <= most) {
            Piece piece;
            std::uint8_t* out = piece.data();
            std::size_t room = piece.size();
            result = BrotliDecoderDecompressStream(state_.get(), &left, &in, &room, &out, nullptr);
            if (result == BROTLI_DECODER_RESULT_ERROR) refuse();
            text.append(reinterpret_cast<char*>(piece.data()), piece.size() - room);
        }
        ended_ = result == BROTLI_DECODER_RESULT_SUCCESS;
        if (ended_ && left > 0) refuse();
    }

    bool ended() const override { return ended_; }

private:
    struct Destroy {
        void operator()(BrotliDecoderState* state) const { BrotliDecoderDestroyInstance(state); }
    };

    std::unique_ptr<BrotliDecoderState, Destroy> state_{BrotliDecoderCreateInstance(nullptr, nullptr, nullptr)};
    bool ended_ = false;
};

}  // namespace

std::unique_ptr<ContentDecoder> content_decoder(const std::string& coding) {
    const std::string name = boost::algorithm::to_lower_copy(coding);
    if (name.empty() || name == "identity") return std::make_unique<Identity>();
    if (name == "gzip" || name == "x-gzip") return std::make_unique<Gzip>();
    if (name == "br") return std::make_unique<Brotli>();
    throw Refusal(415, std::string("the body's Content-Encoding is not one of ") + kContentCodings);
}

}  // namespace service
