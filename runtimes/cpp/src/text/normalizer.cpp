#include "text/normalizer.hpp"

#include <algorithm>

#include "text/unicode.hpp"

namespace trbert::internal {
namespace {

// A part of a decomposition, and whether it is not the first.
struct Part {
    char32_t code;
    bool added;
};

// Decompose canonically and bring every run of marks into canonical order; equals stay as they stand.
//
// The characters that parts come from are counted after ordering, so that a mark which moved is said to come from where
// it stands now: this is what Hugging Face's offsets say.
Characters decomposed(const Characters& characters) {
    std::vector<Part> parts;
    parts.reserve(characters.size());
    for (const Character& character : characters) {
        const Expansion expansion = decompose(character.code);
        for (int place = 0; place < expansion.count; ++place) parts.push_back({expansion.codes[place], place > 0});
    }
    const auto is_mark = [](const Part& part) { return combining_class(part.code) != 0; };
    for (auto from = parts.begin(); from != parts.end();) {
        from = std::find_if(from, parts.end(), is_mark);
        const auto to = std::find_if_not(from, parts.end(), is_mark);
        std::stable_sort(from, to, [](const Part& one, const Part& other) {
            return combining_class(one.code) < combining_class(other.code);
        });
        from = to;
    }
    Characters result;
    result.reserve(parts.size());
    std::size_t taken = 0;
    for (const Part& part : parts) {
        if (!part.added) ++taken;
        result.push_back({part.code, characters[taken - 1].start, characters[taken - 1].end});
    }
    return result;
}

Characters lowered(const Characters& characters) {
    Characters result;
    result.reserve(characters.size());
    for (const Character& character : characters) {
        const Expansion expansion = lower_case(character.code);
        for (int place = 0; place < expansion.count; ++place) {
            result.push_back({expansion.codes[place], character.start, character.end});
        }
    }
    return result;
}

template <typename Unwanted>
void remove(Characters& characters, Unwanted unwanted) {
    characters.erase(std::remove_if(characters.begin(), characters.end(),
                                    [&](const Character& character) { return unwanted(character.code); }),
                     characters.end());
}

}  // namespace

Characters Normalizer::normalize(std::u32string_view text, std::size_t first) const {
    Characters characters;
    characters.reserve(text.size());
    for (std::size_t place = 0; place < text.size(); ++place) {
        const Character character{text[place], first + place, first + place + 1};
        if (clean_text && is_removed(character.code)) continue;
        const auto put = [&](char32_t code) { characters.push_back({code, character.start, character.end}); };
        if (handle_chinese_chars && is_chinese(character.code)) {
            put(U' ');
            put(character.code);
            put(U' ');
        } else {
            put(clean_text && is_white_space(character.code) ? U' ' : character.code);
        }
    }
    if (strip_accents) {
        characters = decomposed(characters);
        remove(characters, is_nonspacing_mark);
    }
    if (lowercase) characters = lowered(characters);
    return characters;
}

}  // namespace trbert::internal
