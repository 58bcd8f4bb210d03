#include "bundle/check_task.hpp"

#include <algorithm>
#include <set>

#include "bundle/read_specs.hpp"
#include "core/request_checks.hpp"

namespace trbert::internal {
namespace {

// The batch, then names, then sizes.
void check_axes(const std::string& name, const Axes& axes) {
    require(!axes.empty() && axes.front().name == kBatch, "the first axis of " + name + " must be batch");
    const bool sorted = std::is_partitioned(axes.begin(), axes.end(), [](const Axis& axis) { return axis.varies(); });
    require(sorted, name + ": axes of a fixed size come last");
}

bool is_over_tokens(const std::string& name) {
    return name == kInputIds || name == kAttentionMask || name == kTokenTypeIds;
}

void check_input(const InputSpec& spec, const TaskSpec& task) {
    check_axes(spec.name, spec.axes);
    const std::int64_t most = spec.maximum.value_or(kLargest);
    require(spec.minimum <= most, spec.name + ": its maximum is below its minimum");
    require(!spec.otherwise || (spec.minimum <= *spec.otherwise && *spec.otherwise <= most),
            spec.name + ": its default is not among " + std::to_string(spec.minimum) + " to " + std::to_string(most));
    require(is_over_tokens(spec.name) == spec.per_token(),
            spec.name + ": inputs over tokens are input_ids, attention_mask, token_type_ids, and those are");
    if (!spec.per_token()) return;
    require(spec.maximum && spec.axes == task.inputs.front().axes,
            spec.name + " is over tokens: it needs a maximum, and the axes of input_ids");
    require(spec.otherwise || spec.name == kInputIds, spec.name + " needs a default");
}

void check_inputs(const TaskSpec& task) {
    std::set<std::string> names;
    for (const InputSpec& spec : task.inputs) names.insert(spec.name);
    require(task.inputs.size() >= 2 && task.inputs[0].name == kInputIds && task.inputs[1].name == kAttentionMask &&
                names.size() == task.inputs.size(),
            "inputs must begin with input_ids and attention_mask, each once");
    Axes of_rows{{kBatch}, {kLength}};
    if (task.sequences_axis) of_rows.insert(of_rows.begin() + 1, {*task.sequences_axis});
    require(task.inputs.front().axes == of_rows, "the axes of input_ids do not fit sequences_axis");
    for (const InputSpec& spec : task.inputs) check_input(spec, task);
}

void check_outputs(const TaskSpec& task) {
    std::set<std::string> names;
    for (const OutputSpec& spec : task.outputs) names.insert(spec.name);
    require(!names.empty() && names.size() == task.outputs.size(), "a task needs outputs, each once");
    for (const OutputSpec& spec : task.outputs) {
        check_axes(spec.name, spec.axes);
        const bool over_tokens =
            std::any_of(spec.axes.begin(), spec.axes.end(), [](const Axis& axis) { return axis.name == kLength; });
        require(!over_tokens || (spec.per_token() && !task.sequences_axis),
                spec.name + ": length can be the second axis, of rows that are one sequence");
    }
}

}  // namespace

void require_row_input(const TaskSpec& task, const std::string& name, const std::string& field) {
    const InputSpec* spec = task.input(name);
    require(spec != nullptr && spec->axes == Axes{{kBatch}},
            field + " names " + name + ", which is no input with a number for each row");
}

void check_task(const TaskSpec& task) {
    check_inputs(task);
    if (task.protected_from) require_row_input(task, *task.protected_from, "protected_from");
    check_outputs(task);
    if (task.text) check_text(*task.text, task);
    check_decoding(task);
}

}  // namespace trbert::internal
