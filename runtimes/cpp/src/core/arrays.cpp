#include "core/arrays.hpp"

#include <stdexcept>

namespace trbert::internal {
namespace {

template <typename Number, typename Read>
void flatten(const Json& nested, std::size_t axis, Tensor<Number>& whole, Read read) {
    if (axis == whole.shape.size()) {
        if (nested.is_array()) throw std::invalid_argument("not a rectangular array: pad its rows to one length");
        whole.data.push_back(read(nested));
        return;
    }
    if (!nested.is_array() || static_cast<std::int64_t>(nested.size()) != whole.shape[axis]) {
        throw std::invalid_argument("not a rectangular array: pad its rows to one length");
    }
    for (const Json& part : nested) flatten(part, axis + 1, whole, read);
}

template <typename Number, typename Read>
Tensor<Number> array_of(const Json& nested, Read read) {
    Tensor<Number> whole;
    for (const Json* part = &nested; part->is_array();) {
        whole.shape.push_back(static_cast<std::int64_t>(part->size()));
        if (part->empty()) break;
        part = &part->front();
    }
    flatten(nested, 0, whole, read);
    return whole;
}

}  // namespace

std::string text_of(const Shape& shape) {
    std::string text = "[";
    for (std::size_t axis = 0; axis < shape.size(); ++axis) text += (axis ? ", " : "") + std::to_string(shape[axis]);
    return text + "]";
}

std::int64_t count_of(const Shape& shape, std::size_t first) {
    std::int64_t count = 1;
    for (std::size_t axis = first; axis < shape.size(); ++axis) count *= shape[axis];
    return count;
}

Ids integers_of(const Json& nested) { return array_of<std::int64_t>(nested, integer); }

Tensor<float> floats_of(const Json& nested) { return array_of<float>(nested, float_of); }

}  // namespace trbert::internal
