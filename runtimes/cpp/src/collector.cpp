#include "collector.hpp"

#include <algorithm>

#include "errors.hpp"

namespace trbert::internal {
namespace {

[[noreturn]] void refuse(const std::string& name) {
    throw error(ErrorCode::runtime, "a graph gave " + name + " of an unexpected shape");
}

// Kept positions of one row in the original row, for each reduction. Where the model restores tokens, all masks are
// over the original positions; where it does not, each is over the tokens that the one before kept.
std::vector<Rows> chain(const std::vector<Mask>& masks, std::size_t place, bool restores) {
    std::vector<Rows> chained;
    for (const Mask& mask : masks) {
        Rows positions;
        for (std::size_t token = 0; token < mask[place].size(); ++token) {
            if (mask[place][token] == 0) continue;
            if (chained.empty() || restores) {
                positions.push_back(static_cast<std::int64_t>(token));
            } else if (token < chained.back().size()) {
                positions.push_back(chained.back()[token]);
            } else {
                refuse("a keep mask");
            }
        }
        chained.push_back(std::move(positions));
    }
    return chained;
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

Collector::Collector(const Request& request, std::size_t stages, std::size_t reductions, bool want_kept)
    : request_(request), want_kept_(want_kept) {
    output_.group_sizes.resize(stages);
    if (want_kept) output_.kept.assign(reductions, std::vector<Rows>(request.size()));
}

void Collector::add(const Rows& rows, const Outputs& outputs) {
    for (const TaskOutput& facts : request_.task().outputs) {
        const Tensor<float> part = outputs.at(facts.name)->floats();
        std::vector<std::int64_t> shape = part.shape;
        const bool of_rows = shape.size() >= 2 && shape[0] == static_cast<std::int64_t>(rows.size());
        if (!of_rows || (facts.per_token && (shape[1] < 1 || shape[1] > request_.width()))) refuse(facts.name);
        const auto given = static_cast<std::ptrdiff_t>(part.data.size() / rows.size());  // of a row
        shape[0] = static_cast<std::int64_t>(request_.size());
        std::ptrdiff_t wanted = given;
        if (facts.per_token) {
            wanted = given / shape[1] * request_.width();
            shape[1] = request_.width();
        }
        const auto [entry, fresh] = output_.try_emplace(facts.name);
        Tensor<float>& whole = entry->second;
        if (fresh) {
            whole.shape = shape;
            whole.data.assign(request_.size() * static_cast<std::size_t>(wanted), facts.padding);
        } else if (whole.shape != shape) {
            refuse(facts.name);
        }
        for (std::size_t place = 0; place < rows.size(); ++place) {
            const auto first = part.data.begin() + static_cast<std::ptrdiff_t>(place) * given;
            std::copy(first, first + given, whole.data.begin() + rows[place] * wanted);
        }
    }
}

void Collector::add_kept(const Rows& rows, const std::vector<Mask>& masks) {
    for (std::size_t place = 0; place < rows.size(); ++place) {
        std::vector<Rows> chained = chain(masks, place, request_.task().restores);
        for (std::size_t reduction = 0; reduction < chained.size(); ++reduction) {
            output_.kept[reduction][static_cast<std::size_t>(rows[place])] = std::move(chained[reduction]);
        }
    }
}

}  // namespace trbert::internal
