#include "text/normalizer.hpp"

#include <algorithm>

#include "text/unicode.hpp"

namespace trbert::internal {
namespace {

// Bring every run of marks into canonical order; equals stay as they stand.
void reorder(Characters& characters) {
    const auto is_mark = [](const Character& character) { return combining_class(character.code) != 0; };
    for (auto from = characters.begin(); from != characters.end();) {
        from = std::find_if(from, characters.end(), is_mark);
        const auto to = std::find_if_not(from, characters.end(), is_mark);
        std::stable_sort(from, to, [](const Character& one, const Character& other) {
            return combining_class(one.code) < combining_class(other.code);
        });
        from = to;
    }
}

template <typename Expand>
Characters expanded(const Characters& characters, Expand expand) {
    Characters result;
    result.reserve(characters.size());
    for (const Character& character : characters) {
        const Expansion expansion = expand(character.code);
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
        characters = expanded(characters, decompose);
        reorder(characters);
        remove(characters, is_nonspacing_mark);
    }
    if (lowercase) characters = expanded(characters, lower_case);
    return characters;
}

}  // namespace trbert::internal
