#include "text/unicode.hpp"

#include <algorithm>
#include <iterator>

#include "core/errors.hpp"

namespace trbert::internal {
namespace {

struct Range {
    char32_t first, last;
};
struct Lower {
    char32_t code, low, next;
};
struct Decomposition {
    char32_t code, parts[4];

    constexpr Decomposition(char32_t from, char32_t a, char32_t b, char32_t c, char32_t d)
        : code(from), parts{a, b, c, d} {}
};
struct CombiningClass {
    char32_t first, last;
    int order;
};

#include "text/unicode_tables.inc"

template <std::size_t size>
bool in(const Range (&ranges)[size], char32_t code) {
    const Range* behind = std::upper_bound(std::begin(ranges), std::end(ranges), code,
                                           [](char32_t wanted, const Range& range) { return wanted < range.first; });
    return behind != std::begin(ranges) && code <= std::prev(behind)->last;
}

template <typename Entry, std::size_t size>
const Entry* entry_of(const Entry (&table)[size], char32_t code) {
    const Entry* found = std::lower_bound(std::begin(table), std::end(table), code,
                                          [](const Entry& entry, char32_t wanted) { return entry.code < wanted; });
    return found != std::end(table) && found->code == code ? found : nullptr;
}

// Hangul syllables: The Unicode Standard, section 3.12.
constexpr char32_t kSyllable = 0xAC00, kLead = 0x1100, kVowel = 0x1161, kTrail = 0x11A7;
constexpr char32_t kSyllables = 11172, kVowels = 21, kTrails = 28;

}  // namespace

std::u32string decode_utf8(std::string_view text) {
    std::u32string codes;
    codes.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const auto byte = [&](std::size_t offset) {
            return at + offset < text.size() ? static_cast<unsigned char>(text[at + offset]) : 0U;
        };
        const unsigned lead = byte(0);
        const std::size_t length = lead < 0x80   ? 1
                                   : lead < 0xC2 ? 0
                                   : lead < 0xE0 ? 2
                                   : lead < 0xF0 ? 3
                                   : lead < 0xF5 ? 4
                                                 : 0;
        char32_t code = length < 2 ? lead : lead & (0x7FU >> length);
        bool valid = length > 0;
        for (std::size_t offset = 1; offset < length; ++offset) {
            valid = valid && (byte(offset) & 0xC0U) == 0x80U;
            code = (code << 6) | (byte(offset) & 0x3FU);
        }
        const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
        if (!valid || overlong || (code >= 0xD800 && code < 0xE000) || code > 0x10FFFF) {
            throw input_error("the text is not valid UTF-8 (byte " + std::to_string(at + 1) + ")", "give UTF-8");
        }
        codes.push_back(code);
        at += length;
    }
    return codes;
}

void append_utf8(std::string& text, char32_t code) {
    const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
        put(code);
    } else if (code < 0x800) {
        put(0xC0 | (code >> 6));
        put(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        put(0xE0 | (code >> 12));
        put(0x80 | ((code >> 6) & 0x3F));
        put(0x80 | (code & 0x3F));
    } else {
        put(0xF0 | (code >> 18));
        put(0x80 | ((code >> 12) & 0x3F));
        put(0x80 | ((code >> 6) & 0x3F));
        put(0x80 | (code & 0x3F));
    }
}

bool is_removed(char32_t code) { return in(kRemoved, code); }
bool is_white_space(char32_t code) { return in(kWhiteSpace, code); }
bool is_punctuation(char32_t code) { return in(kPunctuation, code); }
bool is_chinese(char32_t code) { return in(kChinese, code); }
bool is_nonspacing_mark(char32_t code) { return in(kNonspacingMarks, code); }

Expansion lower_case(char32_t code) {
    if (const Lower* entry = entry_of(kLower, code)) return {{entry->low, entry->next, 0, 0}, entry->next ? 2 : 1};
    return {{code, 0, 0, 0}, 1};
}

Expansion decompose(char32_t code) {
    if (code >= kSyllable && code < kSyllable + kSyllables) {
        const char32_t index = code - kSyllable, trail = index % kTrails;
        return {
            {kLead + index / (kVowels * kTrails), kVowel + index % (kVowels * kTrails) / kTrails, kTrail + trail, 0},
            trail ? 3 : 2};
    }
    if (const Decomposition* entry = entry_of(kDecompositions, code)) {
        Expansion expansion{{entry->parts[0], entry->parts[1], entry->parts[2], entry->parts[3]}, 0};
        while (expansion.count < 4 && expansion.codes[expansion.count]) ++expansion.count;
        return expansion;
    }
    return {{code, 0, 0, 0}, 1};
}

int combining_class(char32_t code) {
    const CombiningClass* behind =
        std::upper_bound(std::begin(kCombiningClasses), std::end(kCombiningClasses), code,
                         [](char32_t wanted, const CombiningClass& range) { return wanted < range.first; });
    if (behind == std::begin(kCombiningClasses) || std::prev(behind)->last < code) return 0;
    return std::prev(behind)->order;
}

}  // namespace trbert::internal
