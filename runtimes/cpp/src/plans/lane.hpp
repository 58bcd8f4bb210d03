// One caller's way through the engines: its stream, its buffers, its execution contexts. As runtimes/plans/lane.py,
// without CUDA graphs.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "plans/device.hpp"
#include "runner.hpp"

namespace trbert::internal {

using Engines = std::vector<std::unique_ptr<const StageEngine>>;

// Runs stages for one caller at a time. What a stage leaves lies in one buffer until the same stage runs again.
class Lane : public StageRunner {
public:
    // engines: one a stage. grid: the shapes they were built for. per_token: names of outputs whose second axis is a
    // row's tokens. All of them outlive the lane.
    Lane(Device& device, const Engines& engines, const Grid& grid, std::set<std::string> per_token);
    ~Lane() override;
    Lane(const Lane&) = delete;
    Lane& operator=(const Lane&) = delete;

    std::vector<Rows> plan(std::size_t stage, const std::vector<std::int64_t>& counts,
                           std::int64_t sequences_a_row) override;

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

    // A buffer that is large enough, for a tensor of a stage.
    void* fit(std::size_t stage, const std::string& name, const Shape& shape);

    Device& device_;
    const Engines& engines_;
    const Grid& grid_;
    std::set<std::string> per_token_;
    Device::Stream stream_;
    void* scratch_ = nullptr;                                        // of all contexts: they run one after the other
    std::map<std::pair<std::size_t, std::string>, Buffer> buffers_;  // by stage and tensor
    std::map<std::pair<std::size_t, std::size_t>, std::unique_ptr<Context>> contexts_;  // by stage and profile
};

}  // namespace trbert::internal
