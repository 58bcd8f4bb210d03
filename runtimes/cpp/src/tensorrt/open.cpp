// Opening the TensorRT engines of a bundle, where the library was built with TensorRT.
#include "core/errors.hpp"
#include "tensorrt/cuda.hpp"
#include "tensorrt/engine.hpp"
#include "tensorrt/engine_cache.hpp"
#include "tensorrt/runtime.hpp"
#include "tensorrt_checks.hpp"

namespace trbert::internal {

std::unique_ptr<Runtime> open_tensorrt(const Bundle& bundle, const Options& options) {
    require_for_tensorrt(bundle, options.mode);
    Pipeline pipeline(bundle, options.mode);
    const Here here = look_here();
    const auto folder =
        options.engines.empty() ? tensorrt_engines_folder(bundle) : std::filesystem::u8path(options.engines);
    std::unique_ptr<Device> device = open_device();
    TensorRtEngines engines;
    ShapeBuckets shapes;
    for (const auto& path : select_engine_files(folder, bundle, pipeline.graphs(), here)) {
        const auto [header, serialized] = read_engine_file(path);
        shapes = header.shapes;  // the same of all engines of a build
        engines.push_back(load_tensorrt_engine(header, serialized));
    }
    return std::make_unique<TensorRtRuntime>(std::move(pipeline), std::move(device), std::move(engines),
                                             std::move(shapes));
}

}  // namespace trbert::internal
