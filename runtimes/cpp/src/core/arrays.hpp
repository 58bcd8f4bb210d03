// Arrays of integers, and nested JSON lists as arrays.
#pragma once

#include "core/json.hpp"
#include "trbert/trbert.hpp"

namespace trbert::internal {

using Shape = std::vector<std::int64_t>;
using Ids = Tensor<std::int64_t>;
using Rows = std::vector<std::int64_t>;  // numbers of rows, or one number for each row

// As "[2, 3]".
std::string text_of(const Shape& shape);

// Numbers in an array of that shape, from one axis on.
std::int64_t count_of(const Shape& shape, std::size_t first = 0);

// Throw std::invalid_argument where the lists are not rectangular or hold anything but integers (or numbers).
Ids integers_of(const Json& nested);
Tensor<float> floats_of(const Json& nested);

}  // namespace trbert::internal
