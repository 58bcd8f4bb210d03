// The parts of a manifest that are specs. All throw std::invalid_argument or nlohmann::json::exception.
#pragma once

#include <string>

#include "core/specs.hpp"

namespace trbert::internal {

// For messages about what does not hold.
void require(bool condition, const std::string& what);

// An integer of that name, not below `least`.
std::int64_t at_least(std::int64_t least, const Json& object, const char* name);

Axes read_axes(const Json& part);
TensorSpec read_tensor(const Json& part);
TaskSpec read_task(const Json& part);
ReductionSpec read_reduction(const Json& part);

}  // namespace trbert::internal
