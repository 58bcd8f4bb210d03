// Chain the stages of a bundle: run, see how many tokens each row kept, regroup the rows, run on. The same steps as
// runtimes/pipeline.py and, for the fused graph, runtimes/onnxrt.py.
#pragma once

#include "collector.hpp"
#include "manifest.hpp"
#include "request.hpp"
#include "sessions.hpp"

namespace trbert::internal {

// Answers requests; may be called from several threads at once.
class Runtime {
public:
    virtual ~Runtime() = default;
    virtual Output answer(const Request& request, bool want_kept) const = 0;
};

// Stages, one session each, rows regrouped between them; or the dense graph, as a pipeline of one stage.
class StagedRuntime : public Runtime {
public:
    StagedRuntime(const Bundle& bundle, const std::vector<Graph>& graphs, const Options& options);
    Output answer(const Request& request, bool want_kept) const override;

private:
    // Run `stage` for some rows of the batch, and what follows.
    // width: tokens of the widest of them, as long as it is the caller's tokens that count.
    // feeds: carried tensors of the stage before, with `rows` and `keep`.
    // masks: keep masks of the reductions so far, where kept positions are wanted.
    void descend(const Request& request, Collector& collector, std::size_t stage, const Rows& rows, std::int64_t width,
                 Feeds feeds, const std::vector<Mask>& masks) const;

    std::vector<double> keep_;
    Sessions sessions_;
};

// model.onnx: selection inside the graph, rows grouped by length at the input only.
class FusedRuntime : public Runtime {
public:
    FusedRuntime(const Bundle& bundle, const Options& options);
    Output answer(const Request& request, bool want_kept) const override;

private:
    std::size_t reductions_;
    Sessions sessions_;
};

}  // namespace trbert::internal
