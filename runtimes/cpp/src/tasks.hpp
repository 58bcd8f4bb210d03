// The tasks: what each takes beside token ids, what it answers, and whether dropped tokens come back at the end.
#pragma once

#include <string>
#include <vector>

namespace trbert::internal {

// What stands in a logit where there is nothing to score (padding, an absent candidate).
constexpr float kNoLogit = -10000.0F;

struct TaskOutput {
    std::string name;
    bool per_token = false;  // whether its second axis is the row's tokens (then it is padded like the row)
    float padding = 0.0F;    // what stands at padded positions
};

struct Task {
    std::string name;
    std::vector<TaskOutput> outputs;
    std::vector<std::string> inputs = {};  // beside input_ids, attention_mask and token_type_ids
    bool restores = false;                 // whether skipped tokens are put back with the state they left with
    bool multiple_choice = false;          // whether ids are [rows, options, tokens], with one selection for a row

    // The output of that name, or nullptr.
    const TaskOutput* output(const std::string& name) const;
};

// The task of that name, or nullptr.
const Task* task_named(const std::string& name);

}  // namespace trbert::internal
