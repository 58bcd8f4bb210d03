#include "pipeline.hpp"

#include <algorithm>

#include "bundle/check_graphs.hpp"
#include "core/errors.hpp"
#include "core/selection.hpp"

namespace trbert::internal {
namespace {

std::int64_t longest(const Rows& counts, const Rows& rows) {
    std::int64_t most = 0;
    for (const std::int64_t row : rows) most = std::max(most, counts[static_cast<std::size_t>(row)]);
    return most;
}

// The entries at these places.
template <typename Entries>
Entries some(const Entries& entries, const Rows& places) {
    Entries chosen;
    for (const std::int64_t place : places) chosen.push_back(entries[static_cast<std::size_t>(place)]);
    return chosen;
}

Ids one_axis(Rows numbers) {
    Shape shape{static_cast<std::int64_t>(numbers.size())};
    return {std::move(shape), std::move(numbers)};
}

}  // namespace

Pipeline::Pipeline(const Bundle& bundle, Mode mode)
    : graphs_(graphs_of(bundle, mode)),
      fractions_(mode == Mode::staged ? bundle.reduction.fractions : std::vector<double>()),
      fused_(mode == Mode::fused),
      full_length_(bundle.reduction.full_length),
      reductions_(mode == Mode::dense ? 0 : bundle.reductions()) {}

Output Pipeline::run(StageRunner& runner, const Request& request, bool want_kept) const {
    Collector collector(request, graphs_.size(), reductions_, full_length_, want_kept);
    if (fused_) {
        run_fused(runner, request, collector);
        return collector.take();
    }
    for (const Rows& rows : runner.group(0, request.lengths(), request.sequences()))
        descend(runner, request, collector, 0, {rows, longest(request.lengths(), rows), {}, {}});
    return collector.take();
}

void Pipeline::descend(StageRunner& runner, const Request& request, Collector& collector, std::size_t stage,
                       Part part) const {
    for (const TensorSpec& input : graphs_[stage].inputs) {
        const std::string& name = input.name;
        if (part.feeds.count(name) > 0) continue;
        if (name == kBudget) part.feeds[name] = one_axis(budget(some(request.lengths(), part.rows), fractions_[stage]));
        else part.feeds[name] = request.take(name, part.rows, part.width);
    }
    const bool last = stage == graphs_.size() - 1;
    collector.ran(stage, part.rows.size());
    const Outputs outputs = runner.run(stage, std::move(part.feeds), [&](const std::string& name) {
        return last || (name == kKeepCount && fractions_.empty()) || (name == kKeepMask && collector.want_kept());
    });
    if (last) {
        collector.add(part.rows, outputs);
        if (collector.want_kept()) collector.add_kept(part.rows, part.masks);
        return;
    }
    const Rows kept = counts(request, part, stage, outputs);
    if (collector.want_kept()) part.masks.push_back(mask_of(*outputs.at(kKeepMask), part.rows.size()));
    for (const Rows& group : runner.group(stage + 1, kept, request.sequences())) {
        Part next{some(part.rows, group), part.width, {}, {}};
        for (const auto& [name, output] : outputs) {
            if (name.compare(0, kNext.size(), kNext) == 0) next.feeds[name.substr(kNext.size())] = output.get();
        }
        next.feeds[kRows] = one_axis(group);
        next.feeds[kKeep] = one_axis(Rows(static_cast<std::size_t>(longest(kept, group)), 0));
        for (const Mask& mask : part.masks) next.masks.push_back(some(mask, group));
        descend(runner, request, collector, stage + 1, std::move(next));
    }
}

Rows Pipeline::counts(const Request& request, const Part& part, std::size_t stage, const Outputs& outputs) const {
    if (!fractions_.empty()) {
        const Rows lengths = some(request.lengths(), part.rows);
        if (request.protected_from() == nullptr) return budget(lengths, fractions_[stage]);
        const Rows protected_from = some(*request.protected_from(), part.rows);
        return budget_counts(lengths, fractions_[stage], &protected_from);
    }
    Ids given = outputs.at(kKeepCount)->integers();
    const auto impossible = [&](std::int64_t count) { return count < 1 || count > part.width; };
    if (given.data.size() != part.rows.size() || std::any_of(given.data.begin(), given.data.end(), impossible))
        throw error(ErrorCode::runtime, "a stage gave impossible counts of kept tokens");
    return std::move(given.data);
}

// Selection is inside the graph, rows are grouped by length at the input only.
void Pipeline::run_fused(StageRunner& runner, const Request& request, Collector& collector) const {
    for (const Rows& rows : runner.group(0, request.lengths(), request.sequences())) {
        const std::int64_t width = longest(request.lengths(), rows);
        Feeds feeds;
        for (const TensorSpec& input : graphs_[0].inputs) feeds[input.name] = request.take(input.name, rows, width);
        const Outputs outputs = runner.run(0, std::move(feeds), [](const std::string&) { return true; });
        collector.ran(0, rows.size());
        collector.add(rows, outputs);
        if (!collector.want_kept()) continue;
        std::vector<Mask> masks;
        for (std::size_t reduction = 0; reduction < reductions_; ++reduction)
            masks.push_back(mask_of(*outputs.at(fused_keep_mask(reduction)), rows.size()));
        collector.add_kept(rows, masks);
    }
}

}  // namespace trbert::internal
