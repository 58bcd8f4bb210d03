#include <map>
#include <stdexcept>

#include "bundle/check_task.hpp"
#include "bundle/read_specs.hpp"

namespace trbert::internal {
namespace {

// Complains of a value of a parameter.
using Check = void (*)(const TaskSpec& task, const Json& value);
using Checks = std::map<std::string, Check>;

// Forms of axes, where kAnyAxis stands for any but the tokens'.
const Axis kAnyAxis{"*"}, kRow{kBatch}, kTokens{kLength}, kPair{"", 2};

bool of_form(const Axes& axes, const Axes& form) {
    if (axes.size() != form.size()) return false;
    for (std::size_t place = 0; place < form.size(); ++place) {
        if (form[place] == kAnyAxis ? axes[place].name == kLength : !(axes[place] == form[place])) return false;
    }
    return true;
}

void require_output(const TaskSpec& task, const Json& value, const Axes& form) {
    const OutputSpec* spec = value.is_string() ? task.output(value.get<std::string>()) : nullptr;
    require(spec != nullptr && of_form(spec->axes, form), "must name an output with axes " + named(form));
}

void require_input(const TaskSpec& task, const Json& value, const Axes& form) {
    const InputSpec* spec = value.is_string() ? task.input(value.get<std::string>()) : nullptr;
    require(spec != nullptr && !spec->per_token() && of_form(spec->axes, form),
            "must name an input with axes " + named(form));
}

void row_output(const TaskSpec& task, const Json& value) { require_output(task, value, {kRow, kAnyAxis}); }
void token_output(const TaskSpec& task, const Json& value) { require_output(task, value, {kRow, kTokens}); }
void tokens_output(const TaskSpec& task, const Json& value) { require_output(task, value, {kRow, kTokens, kAnyAxis}); }
void pairs_output(const TaskSpec& task, const Json& value) { require_output(task, value, {kRow, kAnyAxis, kPair}); }
void row_input(const TaskSpec& task, const Json& value) { require_input(task, value, {kRow, kAnyAxis}); }
void pairs_input(const TaskSpec& task, const Json& value) { require_input(task, value, {kRow, kAnyAxis, kPair}); }

void activation(const TaskSpec& task, const Json& value) {
    require(value == "softmax" || value == "sigmoid" || value == "identity",
            "must be one of softmax, sigmoid, identity");
    if (value != "sigmoid") return;
    const Json* threshold = value_of(task.decoding.parameters, "threshold");
    const bool share = threshold != nullptr && threshold->is_number() && *threshold >= 0 && *threshold <= 1;
    require(share, "needs the parameter threshold, in 0 to 1");
}

void count(const TaskSpec&, const Json& value) {
    require(value.is_number_integer() && value >= 1 && value <= kLargest, "must be an integer of at least 1");
}

void types(const TaskSpec& task, const Json& value) {
    bool names = value.is_array() && !value.empty();
    for (std::size_t place = 0; names && place < value.size(); ++place) names = value[place].is_string();
    require(names, "must be a list of names");
    const Json* output = value_of(task.decoding.parameters, "type");
    const OutputSpec* logits = output != nullptr && output->is_string() ? task.output(*output) : nullptr;
    require(logits != nullptr && logits->axes.back().size == static_cast<std::int64_t>(value.size()),
            "must have a name for each logit of type");
}

const std::map<std::string, Checks>& checks() {
    const Checks span{{"start", token_output}, {"end", token_output}, {"max_tokens", count}};
    Checks with_evidence{
        {"type", row_output}, {"types", types}, {"evidence", pairs_output}, {"evidence_spans", pairs_input}};
    with_evidence.insert(span.begin(), span.end());
    static const std::map<std::string, Checks> of_kinds{
        {"classes", {{"output", row_output}, {"activation", activation}}},
        {"choices", {{"output", row_output}}},
        {"span", span},
        {"span_with_evidence", with_evidence},
        {"candidates", {{"output", row_output}, {"positions", row_input}}},
        {"tokens", {{"output", tokens_output}}}};
    return of_kinds;
}

}  // namespace

void check_decoding(const TaskSpec& task) {
    const auto kind = checks().find(task.decoding.kind);
    if (kind == checks().end()) return;
    for (const auto& [name, check] : kind->second) {
        const std::string where = "decoding: parameter " + name + " of kind " + task.decoding.kind;
        const auto value = task.decoding.parameters.find(name);
        require(value != task.decoding.parameters.end(), where + " is missing");
        try {
            check(task, *value);
        } catch (const std::invalid_argument& problem) {
            throw std::invalid_argument(where + " " + problem.what());
        }
    }
}

}  // namespace trbert::internal
