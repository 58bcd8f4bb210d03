// From output arrays to answers, one function a task: the answers of trbert_deploy/decoding.py.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rows.hpp"
#include "tasks.hpp"

namespace trbert::internal {

using Answer = nlohmann::ordered_json;  // keys in the order in which the Python engine gives them

// The answer of one row of a batch.
Answer decode(const Task& task, const std::vector<std::string>& labels, const Row& row, const Output& output,
              std::size_t place);

// The first and last token of the span with the highest sum of start and end logit, of at most 30 tokens, all of them
// answerable; at least one is. Of equal spans the one that starts, then the one that ends first.
std::pair<std::size_t, std::size_t> best_span(const float* start, const float* end,
                                              const std::vector<bool>& answerable);

}  // namespace trbert::internal
