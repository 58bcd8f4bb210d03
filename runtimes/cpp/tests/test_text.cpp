#include <doctest/doctest.h>

#include "text/unicode.hpp"
#include "trbert/trbert.hpp"

using namespace trbert::internal;

TEST_CASE("every code point survives UTF-8") {
    for (char32_t code = 0; code < 0x110000; ++code) {
        if (code >= 0xD800 && code < 0xE000) continue;
        std::string utf8;
        append_utf8(utf8, code);
        if (decode_utf8(utf8) != std::u32string(1, code)) FAIL(static_cast<unsigned>(code));
    }
}

TEST_CASE("what is not UTF-8 is refused, with the byte") {
    for (const char* text :
         {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80",
          "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc3("}) {
        try {
            decode_utf8(std::string("ab") + text + "c");
            FAIL("not refused");
        } catch (const trbert::Error& failure) {
            CHECK(failure.code() == trbert::ErrorCode::input);
            CHECK(std::string(failure.what()).find("(byte 3)") != std::string::npos);
        }
    }
}

TEST_CASE("Hangul syllables are decomposed by arithmetic") {
    const Expansion without = decompose(0xAC00), with = decompose(0xD7A3);
    CHECK(without.count == 2);
    CHECK(without.codes[1] == 0x1161);
    CHECK(with.count == 3);
    CHECK(with.codes[0] == 0x1112);
    CHECK(with.codes[2] == 0x11C2);
}
