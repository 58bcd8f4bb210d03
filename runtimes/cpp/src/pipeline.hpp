// Chain the stages of a bundle: run, see how many tokens each row kept, regroup the rows, run on. The same steps as
// runtimes/pipeline.py.
#pragma once

#include "collector.hpp"
#include "manifest.hpp"
#include "request.hpp"
#include "runner.hpp"

namespace trbert::internal {

class Pipeline {
public:
    // Throws Error (bundle) where the bundle lacks the mode's graphs.
    Pipeline(const Bundle& bundle, Mode mode);

    // The graphs that its runner runs, in order: the stages; or model.onnx or dense.onnx alone.
    const std::vector<Graph>& graphs() const { return graphs_; }

    // Answer a batch by a runner of these graphs. May be called from several threads at once where the runner may.
    Output answer(StageRunner& runner, const Request& request, bool want_kept) const;

private:
    // Run `stage` for some rows of the batch, and what follows.
    // width: tokens of the widest of them, as long as it is the caller's tokens that count.
    // feeds: carried tensors of the stage before, with `rows` and `keep`.
    // masks: keep masks of the reductions so far, where kept positions are wanted.
    void descend(StageRunner& runner, const Request& request, Collector& collector, std::size_t stage, const Rows& rows,
                 std::int64_t width, Feeds feeds, const std::vector<Mask>& masks) const;

    // How many tokens each row kept: from the stage, or in budget mode without waiting for it.
    std::vector<std::int64_t> counts(const Request& request, const Rows& rows, std::size_t stage, std::int64_t width,
                                     const Outputs& outputs) const;

    Output answer_fused(StageRunner& runner, const Request& request, bool want_kept) const;

    std::vector<Graph> graphs_;
    std::vector<double> keep_;  // budget mode: a fraction for each reduction
    bool fused_;
    std::size_t reductions_;
};

}  // namespace trbert::internal
