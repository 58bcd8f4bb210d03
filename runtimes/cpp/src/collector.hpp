// Puts the outputs of groups of rows together into arrays over the whole batch.
#pragma once

#include <vector>

#include "core/request.hpp"
#include "core/selection.hpp"
#include "runner.hpp"

namespace trbert::internal {

// Keep masks of some rows.
using Mask = std::vector<RowMask>;

Mask mask_of(const Held& output, std::size_t rows);

class Collector {
public:
    // full_length: see `kept_positions`. The request outlives the collector.
    Collector(const Request& request, std::size_t stages, std::size_t reductions, bool full_length, bool want_kept);

    bool want_kept() const { return want_kept_; }

    // Note that so many rows ran together.
    void ran(std::size_t stage, std::size_t rows) { output_.group_sizes[stage].push_back(rows); }

    // Take the task's outputs of these rows. Throws Error (runtime) where one has not the axes that the task says.
    void add(const Rows& rows, const Outputs& outputs);

    // Take the keep masks of these rows, one a reduction, as positions in the original rows.
    void add_kept(const Rows& rows, const std::vector<Mask>& masks);

    Output take() { return std::move(output_); }

private:
    void check_axes(const OutputSpec& spec, const Shape& shape, std::size_t rows) const;

    const Request& request_;
    bool full_length_, want_kept_;
    Output output_;
};

}  // namespace trbert::internal
