// Text, by the tokenizer of a bundle.
#include "common.hpp"
#include "text/tokenizer.hpp"
#include "text/unicode.hpp"
#include "trbert/trbert.hpp"

using namespace trbert::internal;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Tokenizer tokenizer = Tokenizer::read(test_bundle() / "tokenizer" / "tokenizer.json");
    try {
        const std::string utf8(reinterpret_cast<const char*>(data), size);
        const std::u32string text = decode_utf8(utf8);
        std::string back;
        for (const char32_t code : text) append_utf8(back, code);
        require(back == utf8);
        std::size_t before = 0;
        for (const Token& token : tokenizer.encode(text)) {
            require(token.id >= 0 && token.start <= token.end && token.end <= text.size());
            require(token.start >= before);
            before = token.start;
        }
    } catch (const trbert::Error&) {
    }
    return 0;
}
