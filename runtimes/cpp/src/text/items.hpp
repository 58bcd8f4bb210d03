// What an item to predict may be: the JSON values of trbert_deploy/text/items.py.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/request.hpp"
#include "core/specs.hpp"

namespace trbert::internal {

// For each token the characters [start, end) of a text; nothing for a token of something else.
struct Span {
    std::size_t start, end;
};
using Offsets = std::vector<std::optional<Span>>;

// The texts of one part of an item: one, or several where the part is a list.
struct TextPart {
    std::string key;
    std::vector<std::string> texts;
};

// One item, understood but not tokenized.
struct Item {
    std::string name;             // in messages
    std::vector<TextPart> parts;  // of an item of text, in the order of its form
    Inputs arrays;                // of an item of token ids, which fit the model; without the batch's axis
    std::u32string context;       // of an item of token ids: what `offsets` count in
    std::optional<Offsets> offsets;
    Json id;  // handed through; null where there is none
};

// Understand one item. name: what messages call it. Throws Error (input).
Item read_item(const TaskSpec& task, const std::string& json, const std::string& name);
Item read_item(const TaskSpec& task, const Json& value, const std::string& name);

// An item that is token ids. Throws Error (input).
Item read_token_ids(const TaskSpec& task, const Json& given, const std::string& name);

}  // namespace trbert::internal
