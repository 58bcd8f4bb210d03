// Puts the outputs of groups of rows together into arrays over the whole batch.
#pragma once

#include <vector>

#include "request.hpp"
#include "runner.hpp"

namespace trbert::internal {

// A keep mask for some rows: [rows][width], not 0 where a token goes on.
using Mask = std::vector<std::vector<std::int64_t>>;

Mask mask_of(const Held& output, std::size_t rows);

class Collector {
public:
    Collector(const Request& request, std::size_t stages, std::size_t reductions, bool want_kept);

    bool want_kept() const { return want_kept_; }

    // Note that so many rows ran together.
    void ran(std::size_t stage, std::size_t rows) { output_.group_sizes[stage].push_back(rows); }

    // Take the task's outputs of these rows.
    void add(const Rows& rows, const Outputs& outputs);

    // Take the keep masks of these rows, one a reduction, as positions in the original rows.
    void add_kept(const Rows& rows, const std::vector<Mask>& masks);

    Output take() { return std::move(output_); }

private:
    const Request& request_;
    bool want_kept_;
    Output output_;
};

}  // namespace trbert::internal
