// Where the tokens of an item's parts stand in its row, and how many of them do: trbert_deploy/text/layout.py.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/arrays.hpp"
#include "core/specs.hpp"
#include "text/wordpiece.hpp"

namespace trbert::internal {

// A part's texts as tokens, in full length and without special ones.
struct TokenPart {
    std::string key;
    std::vector<std::vector<Token>> texts;
};

// The tokens of one text of a part in a row.
struct Placed {
    const TokenPart* part;
    std::size_t member;  // number of the text
    std::size_t tokens;  // the first of its tokens that stand there
    std::size_t start;   // where
};

// One sequence of a row.
struct TokenSequence {
    Rows ids, types;
    std::vector<Placed> placed;
};

// The ids of special tokens.
struct Specials {
    std::int64_t cls, sep;
};

// Put an item's tokens together: a sequence, or one for each text of the part `TextSpec::each`. parts: in the order of
// the item's form; they outlive the result. room: tokens of a sequence at most. name: of the item, in messages.
// Throws Error (input) where what is never cut leaves no room for what is.
std::vector<TokenSequence> lay_out(const TextSpec& text, const std::vector<TokenPart>& parts, const Specials& specials,
                                   std::size_t room, const std::string& name);

// How many tokens of a pair are kept: the longer of the two is cut, in the end both to a half.
std::pair<std::size_t, std::size_t> longest_first(std::size_t first, std::size_t second, std::size_t room);

}  // namespace trbert::internal
