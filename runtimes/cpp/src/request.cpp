#include "request.hpp"

#include <algorithm>
#include <numeric>

#include "errors.hpp"
#include "graphs.hpp"

namespace trbert::internal {
namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string text = "[";
    for (std::size_t axis = 0; axis < shape.size(); ++axis) text += (axis ? ", " : "") + std::to_string(shape[axis]);
    return text + "]";
}

void check_size(const std::string& name, const Ids& array) {
    const bool none = std::find(array.shape.begin(), array.shape.end(), 0) != array.shape.end();
    std::uint64_t size = none ? 0 : 1;
    bool fits = true;
    for (const std::int64_t extent : array.shape) {
        fits = fits && extent >= 0 && (none || static_cast<std::uint64_t>(extent) <= array.data.size() / size);
        if (fits) size *= static_cast<std::uint64_t>(extent);
    }
    if (!fits || size != array.data.size()) {
        throw input_error(name + " is of shape " + shape_text(array.shape) + ", but holds " +
                          std::to_string(array.data.size()) + " numbers");
    }
}

}  // namespace

Request::Request(const Task& task, const Limits& limits, const Inputs& given)
    : task_(&task), limits_(limits), arrays_(given) {
    for (const auto& entry : arrays_) {
        if (!is_token_input(entry.first) && !contains(task.inputs, entry.first)) {
            throw input_error("task " + task.name + " takes no " + entry.first);
        }
        check_size(entry.first, entry.second);
    }
    std::vector<std::string> needed = task.inputs;
    needed.insert(needed.begin(), "input_ids");
    for (const std::string& name : needed) {
        if (arrays_.count(name) == 0) throw input_error("task " + task.name + " needs " + name);
    }
    const Ids& ids = arrays_.at("input_ids");
    if (ids.data.empty()) {
        throw input_error("the batch is empty: input_ids is of shape " + shape_text(ids.shape),
                          "give at least one row");
    }
    if (ids.shape.size() != (task.multiple_choice ? 3U : 2U)) {
        throw input_error(std::string("input_ids must be ") +
                          (task.multiple_choice ? "[rows, options, tokens]" : "[rows, tokens]") + ", not of shape " +
                          shape_text(ids.shape));
    }
    width_ = ids.shape.back();
    sequences_ = task.multiple_choice ? ids.shape[1] : 1;
    arrays_.try_emplace("attention_mask", Ids{ids.shape, std::vector<std::int64_t>(ids.data.size(), 1)});
    if (limits.token_types > 0) {
        arrays_.try_emplace("token_type_ids", Ids{ids.shape, std::vector<std::int64_t>(ids.data.size(), 0)});
    }
    check_shapes();
    if (limits.token_types == 0) arrays_.erase("token_type_ids");  // DistilBERT: accepted and not used
    check_mask();
    check_range("input_ids", limits.vocab_size, "the vocabulary");
    if (limits.token_types > 0) check_range("token_type_ids", limits.token_types, "token types");
    for (const std::string& name : task.inputs) check_own_input(name);
    bring_padding_inside();
}

void Request::check_shapes() const {
    const auto& wanted = arrays_.at("input_ids").shape;
    for (const auto& [name, array] : arrays_) {
        if (is_token_input(name) && array.shape != wanted) {
            throw input_error(name + " is of shape " + shape_text(array.shape) + ", but input_ids of " +
                              shape_text(wanted));
        }
    }
}

std::string Request::row_name(std::size_t sequence) const {
    const std::size_t options = static_cast<std::size_t>(sequences_);
    if (!task_->multiple_choice) return std::to_string(sequence);
    return std::to_string(sequence / options) + " (option " + std::to_string(sequence % options) + ")";
}

void Request::check_mask() {
    const std::vector<std::int64_t>& mask = arrays_.at("attention_mask").data;
    for (std::size_t start = 0; start < mask.size(); start += static_cast<std::size_t>(width_)) {
        const auto first = mask.begin() + static_cast<std::ptrdiff_t>(start), last = first + width_;
        const std::string row = row_name(sequence_lengths_.size());
        if (std::any_of(first, last, [](std::int64_t value) { return value != 0 && value != 1; })) {
            throw input_error("attention_mask must hold 0 and 1 only (row " + row + ")");
        }
        const auto padding = std::find(first, last, 0);
        if (padding == first)
            throw input_error("row " + row + " is all padding", "leave the row out, or give it [CLS]");
        if (std::find(padding, last, 1) != last) {
            throw input_error("the attention_mask of row " + row + " has a hole: a real token stands behind padding",
                              "pad on the right only");
        }
        sequence_lengths_.push_back(padding - first);
        if (padding - first > limits_.max_length) {
            throw input_error("row " + row + " has " + std::to_string(padding - first) + " tokens, the model takes " +
                                  std::to_string(limits_.max_length),
                              "truncate it or split the text");
        }
    }
    for (auto first = sequence_lengths_.begin(); first != sequence_lengths_.end(); first += sequences_) {
        lengths_.push_back(*std::max_element(first, first + sequences_));
    }
}

void Request::check_range(const std::string& name, std::int64_t limit, const std::string& what) const {
    const std::vector<std::int64_t>& values = arrays_.at(name).data;
    const std::vector<std::int64_t>& mask = arrays_.at("attention_mask").data;
    for (std::size_t place = 0; place < values.size(); ++place) {
        if (mask[place] != 0 && (values[place] < 0 || values[place] >= limit)) {
            const std::size_t width = static_cast<std::size_t>(width_);
            throw input_error(name + " of row " + row_name(place / width) + ", token " + std::to_string(place % width) +
                                  " is " + std::to_string(values[place]) + ", but " + what + " of this model ends at " +
                                  std::to_string(limit - 1),
                              "use the tokenizer that came with the model");
        }
    }
}

void Request::check_own_input(const std::string& name) const {
    const Ids& array = arrays_.at(name);
    const bool spans = name == "sentence_spans", ends = name == "question_ends";
    const std::size_t axes = spans ? 3 : ends ? 1 : 2;
    if (array.shape.size() != axes || array.shape[0] != static_cast<std::int64_t>(size()) ||
        (spans && array.shape[2] != 2)) {
        const std::string wanted = spans ? "[rows, sentences, 2]" : ends ? "[rows]" : "[rows, candidates]";
        throw input_error(name + " must be " + wanted + " with " + std::to_string(size()) + " rows, not " +
                          shape_text(array.shape));
    }
    const std::size_t per_row = array.data.size() / size();
    for (std::size_t place = 0; place < array.data.size(); ++place) {
        const std::int64_t value = array.data[place], length = lengths_[place / per_row];
        if (ends ? value < 1 || value > length : value < -1 || value >= length) {
            throw input_error(name + " of row " + std::to_string(place / per_row) + " must be " +
                              (ends ? "1 to the row's length" : "positions in the row (-1: absent)") +
                              "; the row has " + std::to_string(length) + " tokens");
        }
    }
}

// Padding may hold anything; what lies outside an embedding's table is brought inside. In multiple choice what stands
// behind a shorter option does count, as upstream: its states enter the selector's mean over the options.
void Request::bring_padding_inside() {
    for (std::int64_t& id : arrays_.at("input_ids").data) {
        if (id < 0 || id >= limits_.vocab_size) id = 0;
    }
    if (const auto types = arrays_.find("token_type_ids"); types != arrays_.end()) {
        for (std::int64_t& type : types->second.data) type = std::clamp<std::int64_t>(type, 0, limits_.token_types - 1);
    }
}

std::vector<std::string> Request::names() const {
    std::vector<std::string> names;
    for (const auto& entry : arrays_) names.push_back(entry.first);
    return names;
}

Ids Request::take(const std::string& name, const Rows& rows, std::int64_t width) const {
    const Ids& whole = arrays_.at(name);
    const bool over_tokens = is_token_input(name);
    const std::int64_t sequences = over_tokens ? sequences_ : 1;
    const std::int64_t per_row =
        std::accumulate(whole.shape.begin() + 1, whole.shape.end(), std::int64_t{1}, std::multiplies<>());
    const std::int64_t stride = per_row / sequences, wanted = over_tokens ? width : stride;
    Ids taken{whole.shape, {}};
    taken.shape.front() = static_cast<std::int64_t>(rows.size());
    if (over_tokens) taken.shape.back() = width;
    taken.data.reserve(rows.size() * static_cast<std::size_t>(sequences * wanted) + 1);  // never null
    for (const std::int64_t row : rows) {
        for (std::int64_t sequence = 0; sequence < sequences; ++sequence) {
            const auto first = whole.data.begin() + row * per_row + sequence * stride;
            taken.data.insert(taken.data.end(), first, first + wanted);
        }
    }
    return taken;
}

}  // namespace trbert::internal
