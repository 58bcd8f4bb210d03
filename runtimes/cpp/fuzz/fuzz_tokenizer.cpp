// tokenizer.json; where it is taken, a text is tokenized with it.
#include <sys/mman.h>
#include <unistd.h>

#include "common.hpp"
#include "text/tokenizer.hpp"
#include "text/unicode.hpp"
#include "trbert/trbert.hpp"

using namespace trbert::internal;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const int file = memfd_create("tokenizer.json", 0);
    static const std::string path = "/proc/self/fd/" + std::to_string(file);
    static const std::u32string text =
        decode_utf8("A won't-fail film, [MASK] \xC3\xA9t\xC3\xA9 \xE6\x97\xA5\xF0\x9F\x98\x80");
    require(file >= 0 && ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == static_cast<ssize_t>(size));
    try {
        for (const Token& token : Tokenizer::read(path).encode(text)) {
            require(token.start <= token.end && token.end <= text.size());
        }
    } catch (const trbert::Error&) {
    }
    return 0;
}
