// What an item to predict may be: the JSON objects of trbert_deploy/items.py.
#pragma once

#include <string>

#include "rows.hpp"

namespace trbert::internal {

// Understand one item. name: what messages call it. Throws Error (input).
Item read_item(const Bundle& bundle, const std::string& json, const std::string& name);

// A text or pair as an item. Throws Error (input) where the task takes no such thing.
Item item_of(const Bundle& bundle, const Text& text, const std::string& name);

}  // namespace trbert::internal
