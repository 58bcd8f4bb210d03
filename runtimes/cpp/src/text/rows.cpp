#include "text/rows.hpp"

#include <algorithm>

#include "core/request_checks.hpp"

namespace trbert::internal {
namespace {

// Copy what is left of `part` into the corner of a row of `whole` that starts at `from`, axis by axis.
void copy_corner(const Ids& part, Ids& whole, std::size_t axis, std::size_t from, std::size_t& taken) {
    if (axis == part.shape.size()) {
        whole.data[from] = part.data[taken++];
        return;
    }
    const auto stride = static_cast<std::size_t>(count_of(whole.shape, axis + 2));
    for (std::size_t index = 0; index < static_cast<std::size_t>(part.shape[axis]); ++index)
        copy_corner(part, whole, axis + 1, from + index * stride, taken);
}

}  // namespace

std::int64_t Row::sequences() const {
    const Shape& shape = arrays.at(kInputIds).shape;
    return shape.size() == 2 ? shape[0] : 1;
}

Inputs collate(const std::vector<const Row*>& rows, const TaskSpec& task) {
    Inputs batch;
    for (const auto& entry : rows.front()->arrays) {
        const std::string& name = entry.first;
        Ids whole{{static_cast<std::int64_t>(rows.size())}, {}};
        whole.shape.resize(1 + entry.second.shape.size(), 0);
        for (const Row* row : rows) {
            const Shape& shape = row->arrays.at(name).shape;
            for (std::size_t axis = 0; axis < shape.size(); ++axis)
                whole.shape[axis + 1] = std::max(whole.shape[axis + 1], shape[axis]);
        }
        const auto per_row = static_cast<std::size_t>(count_of(whole.shape, 1));
        whole.data.assign(rows.size() * per_row, task.input(name)->padding);
        for (std::size_t place = 0; place < rows.size(); ++place) {
            std::size_t taken = 0;
            copy_corner(rows[place]->arrays.at(name), whole, 0, place * per_row, taken);
        }
        batch[name] = std::move(whole);
    }
    return batch;
}

}  // namespace trbert::internal
