#include "core/specs.hpp"

#include <algorithm>

namespace trbert::internal {
namespace {

template <typename Spec>
const Spec* find(const std::vector<Spec>& specs, const std::string& name) {
    const auto found = std::find_if(specs.begin(), specs.end(), [&](const Spec& one) { return one.name == name; });
    return found == specs.end() ? nullptr : &*found;
}

}  // namespace

bool is_callers_own(const Axis& axis) {
    const std::string& name = axis.name;
    return axis.varies() && name != kBatch && name != kLength && name != kKept && name != kBatchBefore;
}

std::string named(const Axes& axes) {
    std::string text;
    for (const Axis& axis : axes) {
        text += text.empty() ? "[" : ", ";
        if (!axis.varies()) text += std::to_string(axis.size);
        else text += axis.name == kBatch ? "rows" : axis.name == kLength ? "tokens" : axis.name;
    }
    return text + "]";
}

const InputSpec* TaskSpec::input(const std::string& wanted) const { return find(inputs, wanted); }
const OutputSpec* TaskSpec::output(const std::string& wanted) const { return find(outputs, wanted); }

}  // namespace trbert::internal
