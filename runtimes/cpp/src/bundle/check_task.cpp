#include "bundle/check_task.hpp"

#include <algorithm>
#include <set>

#include "bundle/read_specs.hpp"
#include "core/request_checks.hpp"

namespace trbert::internal {
namespace {

using Names = std::vector<std::string>;

void check_input(const InputSpec& spec, const Axes& of_ids) {
    require(!spec.axes.empty() && spec.axes.front().name == kBatch,
            "the first axis of " + spec.name + " must be batch");
    require(!spec.maximum || spec.minimum <= *spec.maximum, "the maximum of " + spec.name + " is below its minimum");
    if (!spec.per_token()) return;
    require(spec.maximum && spec.axes == of_ids,
            spec.name + " is over tokens: it needs a maximum, and the axes of input_ids");
}

// Every form of an item has what its layout names, and every part of it a place.
void check_form(const TextSpec& text, const std::set<std::string>& form) {
    std::set<std::string> wanted = form, placed;
    for (const auto& part : {text.cut, text.each, text.offsets})
        if (part) wanted.insert(*part);
    for (const auto& end : text.ends) wanted.insert(end.second);
    for (const SegmentSpec& segment : text.segments) {
        std::set<std::string> parts(segment.tokens.begin(), segment.tokens.end());
        parts.erase(kCls);
        parts.erase(kSep);
        if (std::includes(form.begin(), form.end(), parts.begin(), parts.end()))
            placed.insert(parts.begin(), parts.end());
    }
    for (const std::string& part : wanted)
        require(placed.count(part) > 0, "an item of the text's forms has no place for " + part);
}

void check_text(const TaskSpec& task, const TextSpec& text) {
    for (const auto& [input, part] : text.ends) {
        const InputSpec* spec = task.input(input);
        require(spec != nullptr && spec->axes.size() == 1, "ends names " + input + ", which is no number of a row");
    }
    require(text.each.has_value() == task.sequences_axis.has_value(),
            "the text's `each` and the task's `sequences_axis` go together");
    const bool only = text.truncation == TextSpec::Truncation::only;
    require(!only || text.cut, "truncation 'only' names no part to cut");
    for (const Names& form : text.forms) {
        check_form(text, {form.begin(), form.end()});
        require(only || form.size() <= 2, "truncation 'longest_first' is for two parts at most");
    }
}

}  // namespace

void check_task(const TaskSpec& task) {
    std::set<std::string> names;
    for (const InputSpec& spec : task.inputs) names.insert(spec.name);
    require(task.inputs.size() >= 2 && task.inputs[0].name == kInputIds && task.inputs[1].name == kAttentionMask &&
                names.size() == task.inputs.size(),
            "inputs must begin with input_ids and attention_mask, each once");
    const Axes& of_ids = task.inputs.front().axes;
    for (const InputSpec& spec : task.inputs) check_input(spec, of_ids);
    for (const std::size_t place : {0U, 1U})
        require(task.inputs[place].per_token(), "the last axis of " + task.inputs[place].name + " must be length");
    require(!task.protected_from || names.count(*task.protected_from) > 0,
            "protected_from names " + task.protected_from.value_or("") + ", which is no input");
    require(!task.protected_from || task.input(*task.protected_from)->axes.size() == 1,
            "protected_from names " + task.protected_from.value_or("") + ", which is no number of a row");
    const std::size_t axes = task.sequences_axis ? 3 : 2;
    require(of_ids.size() == axes, "sequences_axis does not fit the axes of input_ids");
    require(!task.sequences_axis || of_ids[1].name == *task.sequences_axis, "sequences_axis is no axis of input_ids");
    require(!task.outputs.empty(), "a task needs an output");
    for (const OutputSpec& spec : task.outputs)
        require(!spec.axes.empty() && spec.axes.front().name == kBatch,
                "the first axis of " + spec.name + " must be batch");
    if (task.text) check_text(task, *task.text);
}

}  // namespace trbert::internal
