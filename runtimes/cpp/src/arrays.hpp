// Nested JSON lists as arrays.
#pragma once

#include "json.hpp"
#include "request.hpp"

namespace trbert::internal {

// Throw std::invalid_argument where the lists are not rectangular or hold anything but integers (or numbers).
Ids integers_of(const Json& nested);
Tensor<float> floats_of(const Json& nested);

}  // namespace trbert::internal
