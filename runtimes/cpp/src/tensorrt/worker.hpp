// One caller's way through the TensorRT engines: its stream, its buffers, its execution contexts. As
// runtimes/tensorrt/worker.py, without its CUDA graphs.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runner.hpp"
#include "tensorrt/device.hpp"
#include "tensorrt/padding.hpp"

namespace trbert::internal {

using TensorRtEngines = std::vector<std::unique_ptr<const TensorRtEngine>>;  // one a stage

// Runs stages for one caller at a time. What a stage leaves lies in one buffer until the same stage runs again.
class Worker : public StageRunner {
public:
    // shapes: that the engines were built for. task: of the model. All of them outlive the worker.
    Worker(Device& device, const TensorRtEngines& engines, const ShapeBuckets& shapes, const TaskSpec& task);
    ~Worker() override;
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    std::vector<Rows> group(std::size_t stage, const Rows& counts, std::int64_t sequences) override;

    // Throws Error (input) too, where the shapes are beyond every profile. Nothing is waited for until an output is
    // read.
    Outputs run(std::size_t stage, Feeds feeds, const IsRead& is_read) override;

private:
    struct Buffer {
        void* place = nullptr;
        std::size_t bytes = 0;
    };

    // The context of the smallest profile that holds these sizes.
    Context& context(std::size_t stage, const Sizes& sizes);

    // The addresses of what a stage gives and is given, in buffers that are large enough.
    Outputs bind_outputs(std::size_t stage, const Padded& padded, Context& context, const Shapes& given);
    void bind_inputs(std::size_t stage, const Padded& padded, Context& context, const Shapes& taken,
                     const Feeds& feeds);

    // A buffer that is large enough, for a tensor of a stage.
    void* fit(std::size_t stage, const std::string& name, const Shape& shape);

    Device& device_;
    const TensorRtEngines& engines_;
    const ShapeBuckets& shapes_;
    const TaskSpec& task_;
    Device::Stream stream_;
    std::int64_t width_ =
        0;  // tokens of the rows under way: a group goes through all stages before the next one starts
    void* scratch_ = nullptr;                                        // of all contexts: they run one after the other
    std::map<std::pair<std::size_t, std::string>, Buffer> buffers_;  // by stage and tensor
    std::map<std::pair<std::size_t, std::size_t>, std::unique_ptr<Context>> contexts_;  // by stage and profile
};

}  // namespace trbert::internal
