// What the parts of a task refer to is there.
#pragma once

#include "core/specs.hpp"

namespace trbert::internal {

// Throws std::invalid_argument where it is not: the rules of `_check_task` in trbert_deploy/bundle/manifest.py, and
// those without which a request could not be read safely.
void check_task(const TaskSpec& task);

}  // namespace trbert::internal
