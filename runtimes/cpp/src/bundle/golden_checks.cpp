#include "bundle/golden_checks.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "bundle/read_specs.hpp"

namespace trbert::internal {
namespace {

// TOLERANCES of trbert_deploy/bundle/precision.py.
Tolerance tolerance_of(const std::string& precision) {
    if (precision == "fp32") return {1e-4, 0.0};
    return precision == "fp16" ? Tolerance{0.02, 0.02} : Tolerance{1.0, 0.15};
}

}  // namespace

Tolerance read_tolerance(const Json& golden, const std::string& precision) {
    const Tolerance most = tolerance_of(precision);
    const auto flips = golden.find("max_flips");
    const Tolerance given{number(golden.at("tolerance")), flips == golden.end() ? 0.0 : number(*flips)};
    require(0 <= given.outputs && given.outputs <= most.outputs, "its tolerance is more than " + precision + " allows");
    require(0 <= given.flips && given.flips <= most.flips, "its max_flips is more than " + precision + " allows");
    return given;
}

Kept read_kept(const Json& nested, const Rows& lengths, std::size_t reductions) {
    Kept kept;
    for (const Json& rows : nested) {
        kept.emplace_back();
        for (const Json& row : rows) {
            Ids positions = integers_of(row);
            require(positions.shape.size() == 1, "its kept positions are no list");
            kept.back().push_back(std::move(positions.data));
        }
        require(kept.back().size() == lengths.size(), "it has another number of rows");
    }
    require(kept.size() == reductions, "it has another number of reductions");
    for (std::size_t row = 0; row < lengths.size(); ++row) {
        Rows before(static_cast<std::size_t>(lengths[row]));
        std::iota(before.begin(), before.end(), 0);
        for (const auto& rows : kept) {
            const Rows& positions = rows[row];
            const bool ascend =
                std::adjacent_find(positions.begin(), positions.end(), std::greater_equal<>()) == positions.end();
            require(!positions.empty() && ascend &&
                        std::includes(before.begin(), before.end(), positions.begin(), positions.end()),
                    "its kept positions do not ascend, or are not among those before");
            before = positions;
        }
    }
    return kept;
}

}  // namespace trbert::internal
