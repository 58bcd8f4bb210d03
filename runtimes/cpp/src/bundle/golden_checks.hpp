// Golden vectors prove something: what they allow and hold is what a model of their bundle can give. All throw
// std::invalid_argument or nlohmann::json::exception.
#pragma once

#include <string>

#include "core/arrays.hpp"

namespace trbert::internal {

using Kept = decltype(Output::kept);

// How far graphs may stray from the reference.
struct Tolerance {
    double outputs;  // largest difference of an output
    double flips;    // largest share of the tokens at reductions that one keeps and the other drops
};

// What a file of golden vectors allows, which is no more than its bundle's precision does.
Tolerance read_tolerance(const Json& golden, const std::string& precision);

// Positions of each reduction and row, such as selections give: ascending, at least one, among those before.
Kept read_kept(const Json& nested, const Rows& lengths, std::size_t reductions);

}  // namespace trbert::internal
