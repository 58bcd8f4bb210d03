// A BERT tokenizer, read from tokenizer.json: the token ids that Hugging Face's tokenizers library gives.
#pragma once

#include <filesystem>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/normalizer.hpp"
#include "text/wordpiece.hpp"

namespace trbert::internal {

class Tokenizer {
public:
    // Throws Error (bundle) where the file cannot be read, or is of a kind that would not be reproduced exactly.
    static Tokenizer read(const std::filesystem::path& path);

    // Tokens of a text in full length, without [CLS] and [SEP] around it. Special tokens written out in the text count
    // as such, as in Hugging Face's tokenizers.
    std::vector<Token> encode(const std::u32string& text) const;

    std::int64_t cls() const { return cls_; }
    std::int64_t sep() const { return sep_; }

private:
    struct Special {
        std::u32string content;
        std::int64_t id;
    };
    Tokenizer(const Normalizer& normalizer, WordPiece pieces) : normalizer_(normalizer), pieces_(std::move(pieces)) {}
    void add_special(std::u32string content, std::int64_t id);
    const Special* special_at(const std::u32string& text, std::size_t place) const;

    Normalizer normalizer_;
    WordPiece pieces_;
    std::unordered_map<char32_t, std::vector<Special>> specials_;  // by first character, longest first
    std::int64_t cls_ = 0, sep_ = 0;
};

}  // namespace trbert::internal
