// Chain the stages of a bundle: run, see how many tokens each row kept, regroup the rows, run on. The same steps as
// runtimes/pipeline.py.
#pragma once

#include "bundle/manifest.hpp"
#include "collector.hpp"
#include "core/request.hpp"
#include "runner.hpp"

namespace trbert::internal {

class Pipeline {
public:
    // Throws Error (bundle) where the bundle lacks the mode's graphs.
    Pipeline(const Bundle& bundle, Mode mode);

    // The graphs that its runner runs, in order: the stages; or model.onnx or dense.onnx alone.
    const std::vector<GraphFile>& graphs() const { return graphs_; }

    // Run a batch by a runner of these graphs. May be called from several threads at once where the runner may.
    Output run(StageRunner& runner, const Request& request, bool want_kept) const;

private:
    // Some rows of the batch on their way.
    struct Part {
        Rows rows;                // of the batch
        std::int64_t width;       // tokens of the widest of them, as the caller's tokens count
        Feeds feeds;              // carried tensors of the stage before, with `rows` and `keep`
        std::vector<Mask> masks;  // keep masks of the reductions so far, where kept positions are wanted
    };

    // Run `stage` for a part of the batch, and what follows.
    void descend(StageRunner& runner, const Request& request, Collector& collector, std::size_t stage, Part part) const;

    // How many tokens each row kept: from the stage, or in budget mode without waiting for it.
    Rows counts(const Request& request, const Part& part, std::size_t stage, const Outputs& outputs) const;

    void run_fused(StageRunner& runner, const Request& request, Collector& collector) const;

    std::vector<GraphFile> graphs_;
    std::vector<double> fractions_;  // budget mode: one for each reduction
    bool fused_, full_length_;
    std::size_t reductions_;
};

}  // namespace trbert::internal
