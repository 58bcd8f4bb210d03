// What a caller's arrays have to be, a check a function. All throw Error (input).
#pragma once

#include "core/arrays.hpp"
#include "core/specs.hpp"

namespace trbert::internal {

inline const std::string kInputIds = "input_ids", kAttentionMask = "attention_mask", kTokenTypeIds = "token_type_ids";

// The arrays that a task knows, all of those it needs among them, each with as many numbers as its shape says. Token
// types are accepted, as from a BERT tokenizer, and dropped where the model takes none.
Inputs given_inputs(const TaskSpec& task, const Inputs& given);

void check_ids(const TaskSpec& task, const Ids& ids);

// Real tokens of each row, of its longest sequence: real ones first, at least one, no more than the model takes.
Rows checked_lengths(const TaskSpec& task, const Ids& mask);

// An array over tokens: every real one within its range.
void check_tokens(const InputSpec& spec, const Ids& array, const Ids& mask);

// An array of the task's own: its axes, and its range.
void check_own(const InputSpec& spec, const Ids& array, const Rows& lengths);

}  // namespace trbert::internal
