// Opening the engines of a bundle, where the library was built with TensorRT.
#include "errors.hpp"
#include "graphs.hpp"
#include "plans/runtime.hpp"
#include "plans/store.hpp"
#include "plans/tensorrt.hpp"

namespace trbert::internal {

std::unique_ptr<Runtime> open_plans(const Bundle& bundle, const Options& options) {
    require_for_tensorrt(bundle, options.mode);
    Pipeline pipeline(bundle, options.mode);
    const Here here = look_here();
    const auto folder = options.engines.empty() ? engines_folder(bundle) : std::filesystem::u8path(options.engines);
    std::unique_ptr<Device> device = open_device();
    Engines engines;
    Grid grid;
    for (const auto& path : select_engines(folder, bundle, pipeline.graphs(), here)) {
        const auto [header, plan] = read_engine(path);
        grid = header.grid;  // the same of all engines of a build
        engines.push_back(load_engine(header, plan));
    }
    return std::make_unique<PlanRuntime>(std::move(pipeline), std::move(device), std::move(engines), std::move(grid));
}

}  // namespace trbert::internal
