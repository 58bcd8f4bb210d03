// Sessions of the TensorRT providers: nothing but the provider itself ever runs instead.
#include <cstdlib>
#include <mutex>

#include "core/errors.hpp"
#include "onnxruntime/pool.hpp"
#include "onnxruntime/providers.hpp"
#include "onnxruntime/sessions.hpp"

namespace trbert::internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTensorRt = "TensorrtExecutionProvider";
constexpr const char* kRtx = "NvTensorRTRTXExecutionProvider";

// What TensorRT leaves over runs on CUDA. Where its library cannot be loaded, appending it fails.
void use_tensorrt(Ort::SessionOptions& session, const Settings& settings) {
    const OrtApi& api = Ort::GetApi();
    OrtTensorRTProviderOptionsV2* made = nullptr;
    Ort::ThrowOnError(api.CreateTensorRTProviderOptions(&made));
    const std::unique_ptr<OrtTensorRTProviderOptionsV2, decltype(api.ReleaseTensorRTProviderOptions)> options(
        made, api.ReleaseTensorRTProviderOptions);
    std::vector<const char*> keys, values;
    for (const auto& [key, value] : settings) {
        keys.push_back(key.c_str());
        values.push_back(value.c_str());
    }
    Ort::ThrowOnError(api.UpdateTensorRTProviderOptions(options.get(), keys.data(), values.data(), keys.size()));
    session.AppendExecutionProvider_TensorRT_V2(*options);
    use_cuda(session);
}

#if ORT_API_VERSION >= 22

// The first GPU that TensorRT-RTX's provider sees, which is a plugin: loaded once an environment.
Ort::ConstEpDevice rtx_device(Ort::Env& environment, const std::string& library) {
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    const auto find = [&] {
        std::vector<Ort::ConstEpDevice> found;
        for (const Ort::ConstEpDevice& device : environment.GetEpDevices())
            if (std::string(device.EpName()) == kRtx) found.push_back(device);
        return found;
    };
    std::vector<Ort::ConstEpDevice> devices = find();
    if (devices.empty()) {
        try {
            environment.RegisterExecutionProviderLibrary(kRtx, fs::u8path(library).native());
        } catch (const Ort::Exception& failure) {
            throw error(ErrorCode::device, "ONNX Runtime does not load " + library + ": " + first_line(failure),
                        "the plugin needs an NVIDIA driver for its CUDA version");
        }
        devices = find();
    }
    if (devices.empty()) {
        throw error(ErrorCode::device, std::string(kRtx) + " sees no GPU that it runs on", "check nvidia-smi");
    }
    return devices.front();
}

void use_rtx_plugin(Ort::Env& environment, Ort::SessionOptions& session, const Settings& settings,
                    const std::string& library) {
    session.AppendExecutionProvider_V2(environment, {rtx_device(environment, library)}, settings);
}

// Fail early where the plugin cannot be had.
void check_rtx_plugin(Ort::Env& environment, const std::string& library) { rtx_device(environment, library); }

#else

[[noreturn]] void refuse_plugin() {
    throw error(ErrorCode::configuration,
                "this library was built with the headers of ONNX Runtime 1." + std::to_string(ORT_API_VERSION) +
                    ", which know no provider plugins",
                "build it with those of 1.22 or later");
}
void use_rtx_plugin(Ort::Env&, Ort::SessionOptions&, const Settings&, const std::string&) { refuse_plugin(); }
void check_rtx_plugin(Ort::Env&, const std::string&) { refuse_plugin(); }

#endif

// An error where the provider cannot be had; nothing runs on the CPU instead.
void require_provider(Pool& pool, const Options& options) {
    if (options.provider == "rtx" && !options.provider_library.empty()) {
        check_rtx_plugin(pool.environment(), options.provider_library);
        return;
    }
    const std::string name = options.provider == "rtx" ? kRtx : kTensorRt;
    if (has_provider(name)) return;
    throw error(ErrorCode::device,
                "provider '" + options.provider + "' was asked for, but this ONNX Runtime has no " + name,
                options.provider == "rtx" ? "name its plugin in provider_library, or link an ONNX Runtime built with it"
                                          : "link ONNX Runtime's GPU build");
}

}  // namespace

StartSession provider_starter(const Bundle& bundle, Pool& pool, const Options& options) {
    require_provider(pool, options);
    return [&bundle, &pool, options](const GraphFile& graph, const Settings& settings) {
        Ort::SessionOptions session = session_options(pool);
        const std::string name = options.provider == "rtx" ? kRtx : kTensorRt;
        try {
            if (options.provider == "tensorrt") use_tensorrt(session, settings);
            else if (!options.provider_library.empty())
                use_rtx_plugin(pool.environment(), session, settings, options.provider_library);
            else session.AppendExecutionProvider("NvTensorRtRtx", settings);
        } catch (const Ort::Exception& failure) {
            throw error(ErrorCode::device, "ONNX Runtime could not start " + name + ": " + first_line(failure),
                        "check the driver with nvidia-smi");
        }
        return load_session(pool, bundle, graph, session, name);
    };
}

}  // namespace trbert::internal
