// One decoder a kind. Each is made once, from a task whose parameters were checked: see bundle/check_task.hpp.
#pragma once

#include <string>
#include <vector>

#include "text/decoding.hpp"

namespace trbert::internal {

using Labels = std::vector<std::string>;
using Scores = std::vector<double>;

// Classes of a row, by `output` [C] and `activation`. "softmax": `label`, its probability `score`, all `scores`.
// "sigmoid": the `labels` whose score is at least `threshold`, all `scores`. "identity": the logits themselves, of a
// single one as `score`.
Decode decode_classes(const TaskSpec& task, const Labels& labels);

// `choice` by index, its `text` where it was given as text, the probabilities `scores`; of `output` [O].
Decode decode_choices(const TaskSpec& task, const Labels& labels);

// `candidate` by index, or null where none is present; `scores`, 0 for an absent one. By the logits `output` [C] of the
// candidates that the input `positions` [C] says are there.
Decode decode_candidates(const TaskSpec& task, const Labels& labels);

// `tokens` without special ones, by `output` [N, C]; where no text is known, each by its `position`.
Decode decode_tokens(const TaskSpec& task, const Labels& labels);

// The best span, by the logits `start` and `end` [N], of at most `max_tokens` tokens. Where the text is known, the
// `answer` with `start` and `end`, its characters; `start_token` and `end_token` in the row (inclusive; null where no
// token may be part of an answer); `score`, the product of the probabilities of its ends.
Decode decode_span(const TaskSpec& task, const Labels& labels);

// `type`, the `answer`, `supporting_sentences`. The type is the best of `types` by the logits `type`; its first stands
// for a span, the others are the answer themselves. A sentence of the input `evidence_spans` [S, 2] supports it where
// the second of its logits `evidence` [S, 2] is the larger one.
Decode decode_span_with_evidence(const TaskSpec& task, const Labels& labels);

// The name that a parameter is.
std::string name_of(const TaskSpec& task, const char* parameter);

// One row of an output: its numbers, and how many stand along its last axis.
struct Slice {
    const float* data;
    std::size_t columns;
};

// Throws Error (runtime) where the graph gave no numbers, or fewer than are read.
Slice slice(const Output& output, const std::string& name, std::size_t place, std::size_t least = 1);

// The characters [start, end) in UTF-8.
std::string characters(const std::u32string& text, const Span& span);

}  // namespace trbert::internal
