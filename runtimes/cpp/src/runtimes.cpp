#include "runtimes.hpp"

#include "core/errors.hpp"
#include "onnxruntime/providers.hpp"
#include "onnxruntime/sessions.hpp"
#include "pipeline.hpp"
#include "tensorrt/runtime.hpp"
#include "tensorrt_checks.hpp"

namespace trbert::internal {
namespace {

// A pipeline over one runner that serves all callers.
class OrtRuntime : public Runtime {
public:
    OrtRuntime(Pipeline pipeline, std::unique_ptr<StageRunner> runner)
        : pipeline_(std::move(pipeline)), runner_(std::move(runner)) {}

    Output run(const Request& request, bool want_kept) const override {
        return pipeline_.run(*runner_, request, want_kept);
    }

private:
    Pipeline pipeline_;
    std::unique_ptr<StageRunner> runner_;
};

std::unique_ptr<Runtime> make_ort(const Bundle& bundle, const Options& options) {
    Pipeline pipeline(bundle, options.mode);
    std::unique_ptr<StageRunner> runner;
    if (options.provider.empty()) {
        runner = std::make_unique<SessionRunner>(bundle, pipeline.graphs(), options);
    } else {
        require_for_tensorrt(bundle, options.mode);
        runner = std::make_unique<ProviderRunner>(bundle, pipeline.graphs(), options);
    }
    return std::make_unique<OrtRuntime>(std::move(pipeline), std::move(runner));
}

// Options that go together, the device filled in.
Options understood(Options options) {
    const bool tensorrt = options.runtime == "trt" || !options.provider.empty();
    if (options.runtime != "ort" && options.runtime != "trt") {
        throw error(ErrorCode::configuration, "unknown runtime '" + options.runtime + "'", "one of: ort, trt");
    }
    if (!options.provider.empty() && options.runtime != "ort") {
        throw error(ErrorCode::configuration, "runtime '" + options.runtime + "' has no providers",
                    "a provider goes with runtime 'ort'");
    }
    if (!options.provider.empty() && options.provider != "tensorrt" && options.provider != "rtx") {
        throw error(ErrorCode::configuration, "unknown provider '" + options.provider + "'", "one of: tensorrt, rtx");
    }
    if (!options.provider_library.empty() && options.provider != "rtx") {
        throw error(ErrorCode::configuration, "provider_library was given without the provider that it is of",
                    "provider 'rtx' is a plugin, others are not");
    }
    if (options.memory != "lean" && options.memory != "arena" && options.memory != "shrink") {
        throw error(ErrorCode::configuration, "unknown memory '" + options.memory + "'", "one of: lean, arena, shrink");
    }
    if (options.group_tokens < 0) {
        throw error(ErrorCode::configuration,
                    "group_tokens must be at least 1, or 0, not " + std::to_string(options.group_tokens));
    }
    if (options.device.empty()) options.device = tensorrt ? "cuda" : "cpu";
    if (options.device != "cpu" && options.device != "cuda") {
        throw error(ErrorCode::device, "unknown device '" + options.device + "'", "one of: cpu, cuda");
    }
    if (tensorrt && options.device != "cuda") {
        throw error(ErrorCode::device, "TensorRT does not run on device '" + options.device + "'",
                    "use device 'cuda', or runtime 'ort' without a provider");
    }
    return options;
}

}  // namespace

std::unique_ptr<Runtime> make_runtime(const Bundle& bundle, const Options& options) {
    const Options chosen = understood(options);
    if (chosen.runtime == "ort") return make_ort(bundle, chosen);
#ifdef TRBERT_WITH_TENSORRT
    return open_tensorrt(bundle, chosen);
#else
    throw error(ErrorCode::configuration, "this library was built without TensorRT",
                "build it with -DTRBERT_WITH_TENSORRT=tensorrt or rtx");
#endif
}

}  // namespace trbert::internal
