// Probabilities, and the best span of a row.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace trbert::internal {

// Of numbers, at least one: their probabilities.
std::vector<double> softmax(const float* logits, std::size_t size);

// Probabilities over those that are wanted, of which there is at least one; 0 for the others.
std::vector<double> softmax_where(const float* logits, const std::vector<bool>& wanted);

// Of equals the first.
std::size_t largest(const std::vector<double>& scores);

// The first and last token of the span with the highest sum of start and end logit, of at most `max_tokens` tokens, all
// of them answerable; at least one is. Of equal spans the one that starts, then the one that ends first.
std::pair<std::size_t, std::size_t> best_span(const float* start, const float* end, const std::vector<bool>& answerable,
                                              std::size_t max_tokens);

}  // namespace trbert::internal
