#include "bundle/read_specs.hpp"

#include <stdexcept>

#include "core/selection.hpp"

namespace trbert::internal {
namespace {

using Names = std::vector<std::string>;

// An integer of 32 bits, not below `least`.
std::int64_t within(const Json& value, std::int64_t least, const std::string& name) {
    const std::int64_t given = whole_number(value);
    require(least <= given && given <= kLargest,
            name + " must lie in " + std::to_string(least) + " to " + std::to_string(kLargest));
    return given;
}

std::string text_or(const Json& object, const char* name, const std::string& otherwise) {
    const auto found = object.find(name);
    return found == object.end() ? otherwise : found->get<std::string>();
}

std::optional<std::string> optional_text(const Json& object, const char* name) {
    const Json* value = value_of(object, name);
    return value ? std::optional(value->get<std::string>()) : std::nullopt;
}

std::optional<std::int64_t> optional_integer(const Json& object, const char* name) {
    const Json* value = value_of(object, name);
    return value ? std::optional(within(*value, -kLargest - 1, name)) : std::nullopt;
}

std::int64_t integer_or(const Json& object, const char* name, std::int64_t otherwise) {
    const auto found = object.find(name);
    return found == object.end() ? otherwise : within(*found, -kLargest - 1, name);
}

// Which of the words an optional entry is, by number; the first where it is not there.
std::size_t one_of(const Json& object, const char* name, const Names& words) {
    const std::string word = text_or(object, name, words.front());
    for (std::size_t place = 0; place < words.size(); ++place) {
        if (words[place] == word) return place;
    }
    throw std::invalid_argument("unknown " + std::string(name) + " " + word);
}

InputSpec read_input(const Json& part) {
    InputSpec spec;
    part.at("name").get_to(spec.name);
    spec.axes = read_axes(part.at("axes"));
    spec.minimum = integer_or(part, "minimum", 0);
    spec.maximum = optional_integer(part, "maximum");
    spec.maximum_from_length = optional_integer(part, "maximum_from_length");
    spec.padding = integer_or(part, "padding", 0);
    spec.otherwise = optional_integer(part, "default");
    spec.key = text_or(part, "key", "");
    if (spec.key.empty()) spec.key = spec.name;
    return spec;
}

OutputSpec read_output(const Json& part) {
    const auto padding = part.find("padding");
    return {part.at("name"), read_axes(part.at("axes")), padding == part.end() ? 0.0F : float_of(*padding)};
}

TextSpec read_text(const Json& part) {
    TextSpec spec;
    part.at("forms").get_to(spec.forms);
    part.at("positional").get_to(spec.positional);
    for (const Json& segment : part.at("segments"))
        spec.segments.push_back({within(segment.at("token_type"), 0, "token_type"), segment.at("tokens").get<Names>()});
    using Truncation = TextSpec::Truncation;
    const bool only = one_of(part, "truncation", {"longest_first", "only"}) == 1;
    spec.truncation = only ? Truncation::only : Truncation::longest_first;
    spec.cut = optional_text(part, "cut");
    spec.each = optional_text(part, "each");
    spec.offsets = optional_text(part, "offsets");
    if (const auto ends = part.find("ends"); ends != part.end()) ends->get_to(spec.ends);
    return spec;
}

DecodingSpec read_decoding(const Json& part) {
    const auto parameters = part.find("parameters");
    DecodingSpec spec{part.at("kind"), parameters == part.end() ? Json::object() : *parameters};
    require(spec.parameters.is_object(), "the parameters of the decoding are no object");
    return spec;
}

}  // namespace

void require(bool condition, const std::string& what) {
    if (!condition) throw std::invalid_argument(what);
}

std::int64_t at_least(std::int64_t least, const Json& object, const char* name) {
    const std::int64_t value = whole_number(object.at(name));
    require(value >= least, std::string(name) + " must be at least " + std::to_string(least));
    return value;
}

Axes read_axes(const Json& part) {
    require(part.is_array(), "axes are no list");
    Axes axes;
    for (const Json& axis : part) {
        if (axis.is_string()) axes.push_back({axis.get<std::string>()});
        else axes.push_back({"", within(axis, 1, "the size of an axis")});
        require(axes.back().varies() || axes.back().size > 0, "an axis has an empty name");
    }
    return axes;
}

TensorSpec read_tensor(const Json& part) { return {part.at("name"), read_axes(part.at("axes")), part.at("dtype")}; }

TaskSpec read_task(const Json& part) {
    TaskSpec task;
    require(part.is_object(), "task is no object");
    part.at("name").get_to(task.name);
    for (const Json& input : part.at("inputs")) task.inputs.push_back(read_input(input));
    for (const Json& output : part.at("outputs")) task.outputs.push_back(read_output(output));
    task.max_length = within(part.at("max_length"), 1, "max_length");
    if (const Json& text = part.at("text"); !text.is_null()) task.text = read_text(text);
    task.decoding = read_decoding(part.at("decoding"));
    task.sequences_axis = optional_text(part, "sequences_axis");
    task.protected_from = optional_text(part, "protected_from");
    return task;
}

ReductionSpec read_reduction(const Json& part) {
    ReductionSpec reduction;
    part.at("kind").get_to(reduction.kind);
    if (const auto layers = part.find("layers"); layers != part.end()) {
        for (const Json& layer : *layers) reduction.layers.push_back(whole_number(layer));
    }
    using Fate = ReductionSpec::Fate;
    reduction.fate = one_of(part, "fate", {"dropped", "attended"}) == 1 ? Fate::attended : Fate::dropped;
    const bool by_budget = one_of(part, "mode", {"policy", "budget"}) == 1;
    if (const auto fractions = part.find("fractions"); fractions != part.end()) {
        for (const Json& fraction : *fractions) reduction.fractions.push_back(number(fraction));
    }
    if (const auto full = part.find("full_length"); full != part.end()) full->get_to(reduction.full_length);
    require(reduction.fractions.size() == (by_budget ? reduction.layers.size() : 0),
            "the fractions do not fit the reductions");
    double most = 1;
    for (const double fraction : reduction.fractions) {
        require(1.0 / kBudgetScale <= fraction && fraction <= most,
                "fractions must lie in 0.000001 to 1, and count from the original length: they cannot grow");
        most = fraction;
    }
    return reduction;
}

}  // namespace trbert::internal
