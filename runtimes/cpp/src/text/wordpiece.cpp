#include "text/wordpiece.hpp"

#include <algorithm>
#include <utility>

#include "core/errors.hpp"
#include "text/unicode.hpp"

namespace trbert::internal {

WordPiece::WordPiece(std::unordered_map<std::string, std::int64_t> vocabulary, const std::string& unknown,
                     std::string prefix, std::size_t max_characters)
    : vocabulary_(std::move(vocabulary)), unknown_(-1), prefix_(std::move(prefix)), max_characters_(max_characters) {
    unknown_ = id_of(unknown);
    if (unknown_ < 0) throw bundle_error("the tokenizer's vocabulary has no " + unknown);
    for (const auto& entry : vocabulary_) longest_bytes_ = std::max(longest_bytes_, entry.first.size());
}

std::int64_t WordPiece::id_of(const std::string& token) const {
    const auto found = vocabulary_.find(token);
    return found == vocabulary_.end() ? -1 : found->second;
}

void WordPiece::encode(const Characters& characters, std::vector<Token>& tokens) const {
    std::size_t start = 0;
    const auto end_word = [&](std::size_t end) {
        if (end > start) encode_word(&characters[start], end - start, tokens);
        start = end;
    };
    for (std::size_t place = 0; place < characters.size(); ++place) {
        const char32_t code = characters[place].code;
        if (is_white_space(code)) {
            end_word(place);
            start = place + 1;
        } else if (is_punctuation(code)) {
            end_word(place);
            end_word(place + 1);
        }
    }
    end_word(characters.size());
}

void WordPiece::encode_word(const Character* first, std::size_t length, std::vector<Token>& tokens) const {
    const Token whole{unknown_, first->start, first[length - 1].end};
    if (length > max_characters_) {
        tokens.push_back(whole);
        return;
    }
    const std::size_t before = tokens.size();
    std::string piece;
    std::vector<std::size_t> bytes;  // of the piece, after each of its characters
    for (std::size_t start = 0; start < length;) {
        piece = start == 0 ? std::string() : prefix_;
        bytes.clear();
        while (start + bytes.size() < length && piece.size() <= longest_bytes_) {
            append_utf8(piece, first[start + bytes.size()].code);
            bytes.push_back(piece.size());
        }
        std::int64_t id = -1;
        for (; !bytes.empty(); bytes.pop_back()) {
            piece.resize(bytes.back());
            if ((id = id_of(piece)) >= 0) break;
        }
        if (id < 0) {
            tokens.resize(before);
            tokens.push_back(whole);
            return;
        }
        tokens.push_back({id, first[start].start, first[start + bytes.size() - 1].end});
        start += bytes.size();
    }
}

}  // namespace trbert::internal
