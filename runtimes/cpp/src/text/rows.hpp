// Rows of token ids: one item each, and how they are put together to a batch. As trbert_deploy/text/rows.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/request.hpp"
#include "core/specs.hpp"
#include "text/items.hpp"

namespace trbert::internal {

// One item, tokenized.
struct Row {
    Inputs arrays;            // without the batch's axis; no padding but of shorter sequences
    std::int64_t length = 0;  // real tokens, of the longest sequence
    std::u32string text;      // what `offsets` count in: the context in question answering
    std::optional<Offsets> offsets;
    std::vector<std::string> choices;  // texts of the part that is a list
    Json id;
    bool truncated = false;
    bool empty = false;  // whether one of its texts says nothing: white space alone, or without a token
    std::string name;    // of the item, in messages

    // Sequences that the row stands for: the options in multiple choice, else one.
    std::int64_t sequences() const;
};

// Pad rows on the right to one batch, as the task's inputs say. All have as many sequences.
Inputs collate(const std::vector<const Row*>& rows, const TaskSpec& task);

}  // namespace trbert::internal
