// Texts to rows of token ids with BERT's layouts, and rows to a batch. The same rows as trbert_deploy/tokenization.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "json.hpp"
#include "manifest.hpp"
#include "request.hpp"
#include "text/tokenizer.hpp"

namespace trbert::internal {

// For each token the characters [start, end) of a text; nothing for a token of something else.
struct Span {
    std::size_t start, end;
};
using Offsets = std::vector<std::optional<Span>>;

// One item, understood but not tokenized: texts, or token ids that fit the model.
struct Item {
    std::string name;                // in messages
    std::vector<std::string> texts;  // in the order of the task's keys, choices last
    Inputs arrays;                   // without the batch's axis
    std::u32string context;          // of token ids: what `offsets` count in
    std::optional<Offsets> offsets;
    Json id;  // handed through; null where there is none
};

// One item, tokenized.
struct Row {
    Inputs arrays;            // without the batch's axis; no padding but of shorter options
    std::int64_t length = 0;  // real tokens (in multiple choice of the longest option)
    std::u32string text;      // what `offsets` count in: the context in question answering
    std::optional<Offsets> offsets;
    std::vector<std::string> choices;
    Json id;
    bool truncated = false;

    // Sequences that the row stands for: the options in multiple choice, else one.
    std::int64_t options() const;
};

class RowMaker {
public:
    explicit RowMaker(const Bundle& bundle);

    bool takes_text() const { return tokenizer_.has_value(); }

    // Throws Error (input) that names the item.
    Row make(Item item) const;

private:
    using Segment = std::vector<std::int64_t>;

    Row of_pair(const Item& item, const std::vector<std::vector<Token>>& parts) const;
    Row of_choices(const Item& item, const std::vector<std::vector<Token>>& parts) const;
    std::size_t rest(const Item& item, const std::string& what, std::size_t taken, std::size_t wanted,
                     std::size_t room) const;
    Inputs arrays(const std::vector<std::pair<Segment, Segment>>& sequences) const;

    const Task* task_;
    Limits limits_;
    std::optional<Tokenizer> tokenizer_;
    std::string why_not_ = "the bundle has no tokenizer, so it cannot take text. Give token ids";
    std::size_t room_ = 0;  // tokens in a row of text
};

// How many tokens of a pair are kept: the longer of the two is cut, in the end both to a half.
std::pair<std::size_t, std::size_t> longest_first(std::size_t first, std::size_t second, std::size_t room);

// Pad rows on the right to one batch: tokens with 0, sentences and candidates with -1. All have as many options.
Inputs collate(const std::vector<const Row*>& rows);

}  // namespace trbert::internal
