// Code points: UTF-8, and what Hugging Face's BERT normalizer and pre-tokenizer know of each.
#pragma once

#include <string>
#include <string_view>

namespace trbert::internal {

// Throws Error (input) that names the first byte which is not UTF-8 (overlong forms and surrogates are not).
std::u32string decode_utf8(std::string_view text);
void append_utf8(std::string& text, char32_t code);

bool is_removed(char32_t code);  // control and format characters, private use, NUL, U+FFFD
bool is_white_space(char32_t code);
bool is_punctuation(char32_t code);
bool is_chinese(char32_t code);
bool is_nonspacing_mark(char32_t code);

// A code point becomes up to four.
struct Expansion {
    char32_t codes[4];
    int count;
};
Expansion lower_case(char32_t code);
Expansion decompose(char32_t code);  // canonically

// Marks behind a letter stand in ascending order of this; 0 for what is no mark.
int combining_class(char32_t code);

}  // namespace trbert::internal
