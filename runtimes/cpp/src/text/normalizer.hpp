// BERT's normalizer, as `BertNormalizer` of Hugging Face's tokenizers.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace trbert::internal {

// A character of the normalized text, and the characters [start, end) of the text that it came from.
struct Character {
    char32_t code;
    std::size_t start, end;
};
using Characters = std::vector<Character>;

struct Normalizer {
    bool clean_text = true;
    bool handle_chinese_chars = true;
    bool strip_accents = true;
    bool lowercase = true;

    // `first`: the place of the first character in the whole text.
    Characters normalize(std::u32string_view text, std::size_t first) const;
};

}  // namespace trbert::internal
