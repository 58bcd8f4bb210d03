#include "onnxruntime/sessions.hpp"

#include <algorithm>

#include "core/errors.hpp"
#include "onnxruntime/pool.hpp"

namespace trbert::internal {
namespace {

// The graph takes and gives what the manifest says, and nothing else.
void check_names(const Ort::Session& session, const GraphFile& graph, const std::string& path) {
    Ort::AllocatorWithDefaultOptions allocator;
    const auto refuse = [&](const std::string& what) {
        throw bundle_error(path + " " + what + ", unlike the manifest says");
    };
    if (session.GetInputCount() != graph.inputs.size() || session.GetOutputCount() != graph.outputs.size()) {
        refuse("has another number of inputs or outputs");
    }
    for (std::size_t index = 0; index < graph.inputs.size(); ++index) {
        const std::string name = session.GetInputNameAllocated(index, allocator).get();
        if (!has(graph.inputs, name)) refuse("takes " + name);
    }
    for (std::size_t index = 0; index < graph.outputs.size(); ++index) {
        const std::string name = session.GetOutputNameAllocated(index, allocator).get();
        if (!has(graph.outputs, name)) refuse("gives " + name);
    }
}

}  // namespace

std::string first_line(const std::exception& failure) {
    const std::string what = failure.what();
    return what.substr(0, what.find('\n'));
}

bool has_provider(const std::string& name) {
    const std::vector<std::string> known = Ort::GetAvailableProviders();
    return std::find(known.begin(), known.end(), name) != known.end();
}

void use_cuda(Ort::SessionOptions& session) {
    if (!has_provider("CUDAExecutionProvider")) {
        throw error(ErrorCode::device,
                    "device 'cuda' was asked for, but this ONNX Runtime has no CUDAExecutionProvider",
                    "link ONNX Runtime's GPU build, or use device 'cpu'");
    }
    try {
        const OrtApi& api = Ort::GetApi();
        OrtCUDAProviderOptionsV2* made = nullptr;
        Ort::ThrowOnError(api.CreateCUDAProviderOptions(&made));
        const std::unique_ptr<OrtCUDAProviderOptionsV2, decltype(api.ReleaseCUDAProviderOptions)> settings(
            made, api.ReleaseCUDAProviderOptions);
        const char *key = "use_tf32", *value = "0";
        Ort::ThrowOnError(api.UpdateCUDAProviderOptions(settings.get(), &key, &value, 1));
        session.AppendExecutionProvider_CUDA_V2(*settings);
    } catch (const Ort::Exception& failure) {
        throw error(ErrorCode::device, "ONNX Runtime could not start CUDA: " + first_line(failure),
                    "check the driver, or use device 'cpu'");
    }
}

Ort::SessionOptions session_options(const Pool& pool) {
    Ort::SessionOptions session;
    session.SetLogSeverityLevel(ORT_LOGGING_LEVEL_ERROR);
    pool.configure(session);
    return session;
}

Ort::MemoryInfo memory_of(const std::string& device) {
    return device == "cuda" ? Ort::MemoryInfo("Cuda", OrtDeviceAllocator, 0, OrtMemTypeDefault)
                            : Ort::MemoryInfo("Cpu", OrtArenaAllocator, 0, OrtMemTypeDefault);
}

Ort::Session load_session(Pool& pool, const Bundle& bundle, const GraphFile& graph, const Ort::SessionOptions& options,
                          const std::string& provider) {
    const std::filesystem::path path = bundle.folder / std::filesystem::u8path(graph.file);
    try {
        Ort::Session session(pool.environment(), path.c_str(), options);
        check_names(session, graph, path.string());
        return session;
    } catch (const Ort::Exception& failure) {
        const std::string what = first_line(failure);
        if (what.find("CreateEnvWithGlobalThreadPools") != std::string::npos) {
            throw error(ErrorCode::configuration,
                        "this process has an ONNX Runtime environment without a shared thread pool already",
                        "load engines with share_pool off, or the first engine before other users of ONNX Runtime");
        }
        if (!provider.empty()) {
            throw error(ErrorCode::device,
                        "ONNX Runtime does not start " + provider + " on " + path.string() + ": " + what,
                        "check the driver with nvidia-smi");
        }
        throw bundle_error("ONNX Runtime does not load " + path.string() + ": " + what,
                           "check the bundle: trbert-deploy verify BUNDLE");
    }
}

}  // namespace trbert::internal
