#include "pipeline.hpp"

#include <algorithm>
#include <cmath>

#include "errors.hpp"
#include "graphs.hpp"
#include "grouping.hpp"

namespace trbert::internal {
namespace {

// Budgets are counted in millionths, in integers, so that every runtime and language rounds alike.
constexpr std::int64_t kBudgetScale = 1'000'000;

std::int64_t longest(const std::vector<std::int64_t>& counts, const Rows& rows) {
    std::int64_t most = 0;
    for (const std::int64_t row : rows) most = std::max(most, counts[static_cast<std::size_t>(row)]);
    return most;
}

// How many tokens rows of these lengths keep: ceil(fraction * length), exactly.
Ids budget(const Request& request, const Rows& rows, double fraction) {
    const std::int64_t millionths = std::llrint(fraction * static_cast<double>(kBudgetScale));
    Ids counts{{static_cast<std::int64_t>(rows.size())}, {}};
    for (const std::int64_t row : rows) {
        const std::int64_t length = request.lengths()[static_cast<std::size_t>(row)];
        counts.data.push_back((length * millionths + kBudgetScale - 1) / kBudgetScale);
    }
    return counts;
}

std::vector<std::int64_t> keep_counts(const Ort::Value& value, std::size_t rows, std::int64_t most) {
    Ids counts = integers(value);
    const auto impossible = [&](std::int64_t count) { return count < 1 || count > most; };
    if (counts.data.size() != rows || std::any_of(counts.data.begin(), counts.data.end(), impossible)) {
        throw error(ErrorCode::runtime, "a stage gave impossible counts of kept tokens");
    }
    return std::move(counts.data);
}

template <typename Items>
Items some(const Items& items, const Rows& places) {
    Items chosen;
    for (const std::int64_t place : places) chosen.push_back(items[static_cast<std::size_t>(place)]);
    return chosen;
}

}  // namespace

StagedRuntime::StagedRuntime(const Bundle& bundle, const std::vector<Graph>& graphs, const Options& options)
    : keep_(bundle.keep), sessions_(bundle, graphs, options) {}

Output StagedRuntime::answer(const Request& request, bool want_kept) const {
    Collector collector(request, sessions_.size(), sessions_.size() - 1, want_kept);
    for (const Rows& rows : plan_groups(request.lengths(), request.sequences_a_row())) {
        descend(request, collector, 0, rows, longest(request.lengths(), rows), {}, {});
    }
    return collector.take();
}

void StagedRuntime::descend(const Request& request, Collector& collector, std::size_t stage, const Rows& rows,
                            std::int64_t width, Feeds feeds, const std::vector<Mask>& masks) const {
    for (const std::string& name : sessions_.graph(stage).inputs) {
        if (feeds.has(name)) continue;
        feeds.add(name, name == kBudget ? budget(request, rows, keep_[stage]) : request.take(name, rows, width));
    }
    const bool last = stage == sessions_.size() - 1;
    collector.ran(stage, rows.size());
    const Values values = sessions_.run(stage, feeds, [&](const std::string& name) {
        return last || name == kKeepCount || (name == kKeepMask && collector.want_kept());
    });
    if (last) {
        collector.add(rows, values);
        if (collector.want_kept()) collector.add_kept(rows, masks);
        return;
    }
    const std::vector<std::int64_t> counts = keep_counts(values.at(kKeepCount), rows.size(), width);
    std::vector<Mask> further = masks;
    if (collector.want_kept()) further.push_back(mask_of(values.at(kKeepMask), rows.size()));
    for (const Rows& group : plan_groups(counts, request.sequences_a_row())) {
        Feeds taken;
        for (const auto& [name, value] : values) {
            if (name.compare(0, kNext.size(), kNext) == 0) taken.add(name.substr(kNext.size()), value);
        }
        const std::int64_t kept = longest(counts, group);
        taken.add(kRows, Ids{{static_cast<std::int64_t>(group.size())}, group});
        taken.add(kKeep, Ids{{kept}, std::vector<std::int64_t>(static_cast<std::size_t>(kept), 0)});
        std::vector<Mask> chosen;
        for (const Mask& mask : further) chosen.push_back(some(mask, group));
        descend(request, collector, stage + 1, some(rows, group), width, std::move(taken), chosen);
    }
}

FusedRuntime::FusedRuntime(const Bundle& bundle, const Options& options)
    : reductions_(bundle.reductions), sessions_(bundle, {bundle.fused}, options) {}

Output FusedRuntime::answer(const Request& request, bool want_kept) const {
    Collector collector(request, 1, reductions_, want_kept);
    for (const Rows& rows : plan_groups(request.lengths(), request.sequences_a_row())) {
        const std::int64_t width = longest(request.lengths(), rows);
        Feeds feeds;
        for (const std::string& name : sessions_.graph(0).inputs) feeds.add(name, request.take(name, rows, width));
        const Values values = sessions_.run(0, feeds, [](const std::string&) { return true; });
        collector.ran(0, rows.size());
        collector.add(rows, values);
        if (!want_kept) continue;
        std::vector<Mask> masks;
        for (std::size_t reduction = 0; reduction < reductions_; ++reduction) {
            masks.push_back(mask_of(values.at(fused_keep_mask(reduction)), rows.size()));
        }
        collector.add_kept(rows, masks);
    }
    return collector.take();
}

}  // namespace trbert::internal
