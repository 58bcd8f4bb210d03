#include "collector.hpp"

#include <algorithm>
#include <stdexcept>

#include "core/errors.hpp"

namespace trbert::internal {
namespace {

[[noreturn]] void refuse(const std::string& name) {
    throw error(ErrorCode::runtime, "a graph gave " + name + " of an unexpected shape");
}

}  // namespace

Mask mask_of(const Held& output, std::size_t rows) {
    const Ids whole = output.integers();
    if (whole.shape.size() != 2 || whole.shape[0] != static_cast<std::int64_t>(rows)) refuse("a keep mask");
    const auto width = static_cast<std::ptrdiff_t>(whole.shape[1]);
    Mask mask;
    for (auto first = whole.data.begin(); mask.size() < rows; first += width) mask.emplace_back(first, first + width);
    return mask;
}

Collector::Collector(const Request& request, std::size_t stages, std::size_t reductions, bool full_length,
                     bool want_kept)
    : request_(request), full_length_(full_length), want_kept_(want_kept) {
    output_.group_sizes.resize(stages);
    if (want_kept) output_.kept.assign(reductions, std::vector<Rows>(request.size()));
}

void Collector::check_axes(const OutputSpec& spec, const Shape& shape, std::size_t rows) const {
    if (shape.size() != spec.axes.size() || shape[0] != static_cast<std::int64_t>(rows)) refuse(spec.name);
    for (std::size_t place = 1; place < shape.size(); ++place) {
        const Axis& axis = spec.axes[place];
        const auto known = request_.sizes().find(axis.name);
        bool fits = axis.varies() || shape[place] == axis.size;
        if (place == 1 && spec.per_token()) fits = shape[place] >= 1 && shape[place] <= request_.width();
        else if (known != request_.sizes().end()) fits = shape[place] == known->second;  // the caller's own axes
        if (!fits) refuse(spec.name);
    }
}

void Collector::add(const Rows& rows, const Outputs& outputs) {
    for (const OutputSpec& spec : request_.task().outputs) {
        const Tensor<float> part = outputs.at(spec.name)->floats();
        check_axes(spec, part.shape, rows.size());
        Shape shape = part.shape;
        shape[0] = static_cast<std::int64_t>(request_.size());
        if (spec.per_token()) shape[1] = request_.width();
        const auto [entry, fresh] = output_.try_emplace(spec.name);
        Tensor<float>& whole = entry->second;
        if (fresh) whole = {shape, std::vector<float>(static_cast<std::size_t>(count_of(shape)), spec.padding)};
        else if (whole.shape != shape) refuse(spec.name);
        const std::int64_t given = count_of(part.shape, 1), wanted = count_of(shape, 1);
        for (std::size_t place = 0; place < rows.size(); ++place) {
            const auto first = part.data.begin() + static_cast<std::int64_t>(place) * given;
            std::copy(first, first + given, whole.data.begin() + rows[place] * wanted);
        }
    }
}

void Collector::add_kept(const Rows& rows, const std::vector<Mask>& masks) {
    for (std::size_t place = 0; place < rows.size(); ++place) {
        std::vector<RowMask> of_row;
        for (const Mask& mask : masks) of_row.push_back(mask[place]);
        try {
            std::vector<Rows> positions = kept_positions(of_row, full_length_);
            for (std::size_t reduction = 0; reduction < positions.size(); ++reduction)
                output_.kept[reduction][static_cast<std::size_t>(rows[place])] = std::move(positions[reduction]);
        } catch (const std::invalid_argument& problem) {
            throw error(ErrorCode::runtime, problem.what());
        }
    }
}

}  // namespace trbert::internal
