#include "pipeline.hpp"

#include <algorithm>
#include <cmath>

#include "errors.hpp"
#include "graphs.hpp"

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

// What rows have left after a reduction in budget mode, known before it is run: in multiple choice the tokens from
// question_ends on and [CLS] are kept beyond any budget.
std::vector<std::int64_t> budget_counts(const Request& request, const Rows& rows, double fraction) {
    std::vector<std::int64_t> counts = budget(request, rows, fraction).data;
    if (!request.task().multiple_choice) return counts;
    const Ids ends = request.take("question_ends", rows, 0);
    for (std::size_t place = 0; place < rows.size(); ++place) {
        const std::int64_t length = request.lengths()[static_cast<std::size_t>(rows[place])];
        counts[place] = std::max(counts[place], 1 + length - ends.data[place]);
    }
    return counts;
}

template <typename Items>
Items some(const Items& items, const Rows& places) {
    Items chosen;
    for (const std::int64_t place : places) chosen.push_back(items[static_cast<std::size_t>(place)]);
    return chosen;
}

}  // namespace

Pipeline::Pipeline(const Bundle& bundle, Mode mode)
    : graphs_(graphs_of(bundle, mode)),
      keep_(mode == Mode::staged ? bundle.keep : std::vector<double>()),
      fused_(mode == Mode::fused),
      reductions_(mode == Mode::dense ? 0 : bundle.reductions) {}

Output Pipeline::answer(StageRunner& runner, const Request& request, bool want_kept) const {
    if (fused_) return answer_fused(runner, request, want_kept);
    Collector collector(request, graphs_.size(), reductions_, want_kept);
    for (const Rows& rows : runner.plan(0, request.lengths(), request.sequences_a_row())) {
        descend(runner, request, collector, 0, rows, longest(request.lengths(), rows), {}, {});
    }
    return collector.take();
}

void Pipeline::descend(StageRunner& runner, const Request& request, Collector& collector, std::size_t stage,
                       const Rows& rows, std::int64_t width, Feeds feeds, const std::vector<Mask>& masks) const {
    for (const std::string& name : graphs_[stage].inputs) {
        if (feeds.count(name) > 0) continue;
        feeds[name] = name == kBudget ? budget(request, rows, keep_[stage]) : request.take(name, rows, width);
    }
    const bool last = stage == graphs_.size() - 1;
    collector.ran(stage, rows.size());
    const Outputs outputs = runner.run(stage, std::move(feeds), [&](const std::string& name) {
        return last || (name == kKeepCount && keep_.empty()) || (name == kKeepMask && collector.want_kept());
    });
    if (last) {
        collector.add(rows, outputs);
        if (collector.want_kept()) collector.add_kept(rows, masks);
        return;
    }
    const std::vector<std::int64_t> kept = counts(request, rows, stage, width, outputs);
    std::vector<Mask> further = masks;
    if (collector.want_kept()) further.push_back(mask_of(*outputs.at(kKeepMask), rows.size()));
    for (const Rows& group : runner.plan(stage + 1, kept, request.sequences_a_row())) {
        Feeds taken;
        for (const auto& [name, output] : outputs) {
            if (name.compare(0, kNext.size(), kNext) == 0) taken[name.substr(kNext.size())] = output.get();
        }
        const std::int64_t most = longest(kept, group);
        taken[kRows] = Ids{{static_cast<std::int64_t>(group.size())}, group};
        taken[kKeep] = Ids{{most}, std::vector<std::int64_t>(static_cast<std::size_t>(most), 0)};
        std::vector<Mask> chosen;
        for (const Mask& mask : further) chosen.push_back(some(mask, group));
        descend(runner, request, collector, stage + 1, some(rows, group), width, std::move(taken), chosen);
    }
}

std::vector<std::int64_t> Pipeline::counts(const Request& request, const Rows& rows, std::size_t stage,
                                           std::int64_t width, const Outputs& outputs) const {
    if (!keep_.empty()) return budget_counts(request, rows, keep_[stage]);
    Ids given = outputs.at(kKeepCount)->integers();
    const auto impossible = [&](std::int64_t count) { return count < 1 || count > width; };
    if (given.data.size() != rows.size() || std::any_of(given.data.begin(), given.data.end(), impossible)) {
        throw error(ErrorCode::runtime, "a stage gave impossible counts of kept tokens");
    }
    return std::move(given.data);
}

// Selection is inside the graph, rows are grouped by length at the input only.
Output Pipeline::answer_fused(StageRunner& runner, const Request& request, bool want_kept) const {
    Collector collector(request, 1, reductions_, want_kept);
    for (const Rows& rows : runner.plan(0, request.lengths(), request.sequences_a_row())) {
        const std::int64_t width = longest(request.lengths(), rows);
        Feeds feeds;
        for (const std::string& name : graphs_[0].inputs) feeds[name] = request.take(name, rows, width);
        const Outputs outputs = runner.run(0, std::move(feeds), [](const std::string&) { return true; });
        collector.ran(0, rows.size());
        collector.add(rows, outputs);
        if (!want_kept) continue;
        std::vector<Mask> masks;
        for (std::size_t reduction = 0; reduction < reductions_; ++reduction) {
            masks.push_back(mask_of(*outputs.at(fused_keep_mask(reduction)), rows.size()));
        }
        collector.add_kept(rows, masks);
    }
    return collector.take();
}

}  // namespace trbert::internal
