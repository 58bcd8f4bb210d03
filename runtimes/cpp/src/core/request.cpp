#include "core/request.hpp"

#include <algorithm>

#include "core/errors.hpp"
#include "core/request_checks.hpp"

namespace trbert::internal {

Request::Request(const TaskSpec& task, const Inputs& given) : task_(&task), arrays_(given_inputs(task, given)) {
    const Ids& ids = arrays_.at(kInputIds);
    check_ids(task, ids);
    for (const InputSpec& spec : task.inputs) fill_in(spec);
    for (const InputSpec& spec : task.inputs) {
        const Shape& shape = arrays_.at(spec.name).shape;
        if (spec.per_token() && shape != ids.shape) {
            throw input_error(spec.name + " is of shape " + text_of(shape) + ", but input_ids of " +
                              text_of(ids.shape));
        }
    }
    const Ids& mask = arrays_.at(kAttentionMask);
    lengths_ = checked_lengths(task, mask);
    for (const InputSpec& spec : task.inputs) {
        if (spec.per_token() && spec.name != kAttentionMask) check_tokens(spec, arrays_.at(spec.name), mask);
    }
    for (const InputSpec& spec : task.inputs) {
        if (!spec.per_token()) check_own(spec, arrays_.at(spec.name), lengths_);
        note_sizes(spec);
        if (spec.per_token() && spec.name != kAttentionMask) bring_padding_inside(spec);
    }
}

// An array that is not given and need not be. Along a caller's own axis it has one entry.
void Request::fill_in(const InputSpec& spec) {
    if (!spec.otherwise || arrays_.count(spec.name) > 0) return;
    const Shape& ids = arrays_.at(kInputIds).shape;
    Shape shape;
    for (const Axis& axis : spec.axes) {
        shape.push_back(axis.name == kBatch ? ids.front() : axis.varies() ? 1 : axis.size);
    }
    if (spec.per_token()) shape = ids;
    arrays_[spec.name] = {shape, Rows(static_cast<std::size_t>(count_of(shape)), *spec.otherwise)};
}

// Inputs that share an axis are of one size along it.
void Request::note_sizes(const InputSpec& spec) {
    const Shape& shape = arrays_.at(spec.name).shape;
    for (std::size_t place = 0; place < shape.size(); ++place) {
        const Axis& axis = spec.axes[place];
        if (!axis.varies()) continue;
        const std::int64_t known = sizes_.try_emplace(axis.name, shape[place]).first->second;
        if (known != shape[place]) {
            throw input_error(spec.name + " is of shape " + text_of(shape) + ", but the axis " + axis.name +
                              " of another input has " + std::to_string(known));
        }
    }
}

// Padding may hold anything; what lies outside an embedding's table is brought inside. In multiple choice what stands
// behind a shorter option does count, as upstream: its states enter the selector's mean over the options.
void Request::bring_padding_inside(const InputSpec& spec) {
    for (std::int64_t& value : arrays_.at(spec.name).data) {
        if (spec.name != kInputIds) value = std::clamp(value, spec.minimum, *spec.maximum);
        else if (value < spec.minimum || value > *spec.maximum) value = 0;
    }
}

const Rows* Request::protected_from() const {
    return task_->protected_from ? &arrays_.at(*task_->protected_from).data : nullptr;
}

std::vector<std::string> Request::names() const {
    std::vector<std::string> names;
    for (const auto& entry : arrays_) names.push_back(entry.first);
    return names;
}

Ids Request::take(const std::string& name, const Rows& rows, std::int64_t width) const {
    const Ids& whole = arrays_.at(name);
    const bool over_tokens = task_->input(name)->per_token();
    const std::int64_t per_row = count_of(whole.shape, 1);
    const std::int64_t stride = over_tokens ? whole.shape.back() : per_row, wanted = over_tokens ? width : per_row;
    Ids taken{whole.shape, {}};
    taken.shape.front() = static_cast<std::int64_t>(rows.size());
    if (over_tokens) taken.shape.back() = width;
    taken.data.reserve(static_cast<std::size_t>(count_of(taken.shape)) + 1);  // never null
    for (const std::int64_t row : rows) {
        const auto first = whole.data.begin() + row * per_row, end = first + per_row;
        for (auto part = first; part != end; part += stride) taken.data.insert(taken.data.end(), part, part + wanted);
    }
    return taken;
}

}  // namespace trbert::internal
