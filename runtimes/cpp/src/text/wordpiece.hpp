// WordPiece: words to the longest pieces in the vocabulary, from left to right.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/normalizer.hpp"

namespace trbert::internal {

// A token, and the characters [start, end) of the text that it stands for.
struct Token {
    std::int64_t id;
    std::size_t start, end;
};

class WordPiece {
public:
    WordPiece(std::unordered_map<std::string, std::int64_t> vocabulary, const std::string& unknown, std::string prefix,
              std::size_t max_characters);

    // Split at white space and punctuation (as `BertPreTokenizer`), then each word into pieces. A word that cannot be
    // made of pieces, or is too long, is one unknown token.
    void encode(const Characters& characters, std::vector<Token>& tokens) const;

    // The id of a token of the vocabulary, or -1.
    std::int64_t id_of(const std::string& token) const;

private:
    void encode_word(const Character* first, std::size_t length, std::vector<Token>& tokens) const;

    std::unordered_map<std::string, std::int64_t> vocabulary_;
    std::int64_t unknown_;
    std::string prefix_;
    std::size_t max_characters_;
    std::size_t longest_bytes_ = 0;  // of an entry
};

}  // namespace trbert::internal
