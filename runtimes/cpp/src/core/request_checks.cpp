#include "core/request_checks.hpp"

#include <algorithm>

#include "core/errors.hpp"

namespace trbert::internal {
namespace {

void check_size(const std::string& name, const Ids& array) {
    const bool none = std::find(array.shape.begin(), array.shape.end(), 0) != array.shape.end();
    std::uint64_t size = none ? 0 : 1;
    bool fits = true;
    for (const std::int64_t extent : array.shape) {
        fits = fits && extent >= 0 && (none || static_cast<std::uint64_t>(extent) <= array.data.size() / size);
        if (fits) size *= static_cast<std::uint64_t>(extent);
    }
    if (!fits || size != array.data.size()) {
        throw input_error(name + " is of shape " + text_of(array.shape) + ", but holds " +
                          std::to_string(array.data.size()) + " numbers");
    }
}

// Of a sequence, by its number; where rows hold several, with that in the row.
std::string row_name(const Ids& mask, std::size_t sequence) {
    if (mask.shape.size() == 2) return std::to_string(sequence);
    const auto sequences = static_cast<std::size_t>(mask.shape[1]);
    return std::to_string(sequence / sequences) + " (option " + std::to_string(sequence % sequences) + ")";
}

// Real tokens of each sequence.
Rows sequence_lengths(const Ids& mask) {
    Rows lengths;
    const std::int64_t width = mask.shape.back();
    for (auto first = mask.data.begin(); first != mask.data.end(); first += width) {
        const auto last = first + width;
        const std::string row = row_name(mask, lengths.size());
        if (std::any_of(first, last, [](std::int64_t value) { return value != 0 && value != 1; }))
            throw input_error("attention_mask must hold 0 and 1 only (row " + row + ")");
        const auto padding = std::find(first, last, 0);
        if (padding == first)
            throw input_error("row " + row + " is all padding", "leave the row out, or give it [CLS]");
        if (std::find(padding, last, 1) != last) {
            throw input_error("the attention_mask of row " + row + " has a hole: a real token stands behind padding",
                              "pad on the right only");
        }
        lengths.push_back(padding - first);
    }
    return lengths;
}

// Where a number stands in an array.
Shape indices_of(std::size_t place, const Shape& shape) {
    Shape indices(shape.size());
    auto rest = static_cast<std::int64_t>(place);
    for (std::size_t axis = shape.size(); axis-- > 0; rest /= shape[axis]) indices[axis] = rest % shape[axis];
    return indices;
}

// The values of an input over tokens, for people: "token types".
std::string values_of(const InputSpec& spec) {
    if (spec.name == kInputIds) return "the vocabulary";
    std::string name = spec.name;
    if (name.size() > 4 && name.compare(name.size() - 4, 4, "_ids") == 0) name.resize(name.size() - 4);
    std::replace(name.begin(), name.end(), '_', ' ');
    return name + "s";
}

std::string allowed(const InputSpec& spec) {
    if (spec.maximum_from_length == -1)
        return std::string("positions in the row") + (spec.minimum == -1 ? " (-1: absent)" : "");
    if (spec.maximum_from_length == 0) return std::to_string(spec.minimum) + " to the row's length";
    return "from " + std::to_string(spec.minimum) + (spec.maximum ? " to " + std::to_string(*spec.maximum) : "");
}

}  // namespace

Inputs given_inputs(const TaskSpec& task, const Inputs& given) {
    Inputs arrays = given;
    if (task.input(kTokenTypeIds) == nullptr) arrays.erase(kTokenTypeIds);
    std::string known, unknown, missing;
    const auto add = [](std::string& list, const std::string& name) { list += (list.empty() ? "" : ", ") + name; };
    for (const InputSpec& spec : task.inputs) {
        add(known, spec.name);
        if (!spec.otherwise && arrays.count(spec.name) == 0) add(missing, spec.name);
    }
    for (const auto& [name, array] : arrays) {
        if (task.input(name) == nullptr) add(unknown, name);
        else check_size(name, array);
    }
    if (!unknown.empty()) throw input_error("task " + task.name + " takes no " + unknown, "it takes: " + known);
    if (!missing.empty()) throw input_error("task " + task.name + " needs " + missing);
    return arrays;
}

void check_ids(const TaskSpec& task, const Ids& ids) {
    if (ids.data.empty()) {
        throw input_error("the batch is empty: input_ids is of shape " + text_of(ids.shape), "give at least one row");
    }
    const Axes& axes = task.inputs.front().axes;
    if (ids.shape.size() != axes.size())
        throw input_error("input_ids must be " + named(axes) + ", not of shape " + text_of(ids.shape));
}

Rows checked_lengths(const TaskSpec& task, const Ids& mask) {
    const Rows sequences = sequence_lengths(mask);
    const std::int64_t a_row = task.sequences_axis ? mask.shape[1] : 1;
    Rows lengths;
    for (auto first = sequences.begin(); first != sequences.end(); first += a_row)
        lengths.push_back(*std::max_element(first, first + a_row));
    const auto longest = std::max_element(lengths.begin(), lengths.end());
    if (*longest > task.max_length) {
        throw input_error("row " + std::to_string(longest - lengths.begin()) + " has " + std::to_string(*longest) +
                              " tokens, the model takes " + std::to_string(task.max_length),
                          "truncate it or split the text");
    }
    return lengths;
}

void check_tokens(const InputSpec& spec, const Ids& array, const Ids& mask) {
    for (std::size_t place = 0; place < array.data.size(); ++place) {
        const std::int64_t value = array.data[place];
        if (mask.data[place] == 0 || (value >= spec.minimum && value <= *spec.maximum)) continue;
        throw input_error(spec.name + text_of(indices_of(place, array.shape)) + " is " + std::to_string(value) +
                              ", but " + values_of(spec) + " of this model ends at " + std::to_string(*spec.maximum),
                          "use the tokenizer that came with the model");
    }
}

void check_own(const InputSpec& spec, const Ids& array, const Rows& lengths) {
    bool fits = array.shape.size() == spec.axes.size() && array.shape[0] == static_cast<std::int64_t>(lengths.size());
    for (std::size_t place = 0; fits && place < spec.axes.size(); ++place)
        fits = spec.axes[place].varies() || spec.axes[place].size == array.shape[place];
    if (!fits) {
        throw input_error(spec.name + " must be " + named(spec.axes) + " with " + std::to_string(lengths.size()) +
                          " rows, not " + text_of(array.shape));
    }
    const std::size_t per_row = array.data.size() / lengths.size();
    for (std::size_t place = 0; place < array.data.size(); ++place) {
        const std::int64_t value = array.data[place], length = lengths[place / per_row];
        const bool beyond = (spec.maximum && value > *spec.maximum) ||
                            (spec.maximum_from_length && value - *spec.maximum_from_length > length);
        if (value >= spec.minimum && !beyond) continue;
        throw input_error(spec.name + " of row " + std::to_string(place / per_row) + " must be " + allowed(spec) +
                          "; the row has " + std::to_string(length) + " tokens");
    }
}

}  // namespace trbert::internal
