#include "sessions.hpp"

#include <algorithm>
#include <numeric>

#include "errors.hpp"
#include "graphs.hpp"
#include "pool.hpp"

namespace trbert::internal {
namespace {

std::string first_line(const std::exception& failure) {
    const std::string what = failure.what();
    return what.substr(0, what.find('\n'));
}

const Ort::MemoryInfo& host() {
    static const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    return memory;
}

// Without TF32, which is not float32.
void use_cuda(Ort::SessionOptions& session) {
    const std::vector<std::string> there = Ort::GetAvailableProviders();
    if (!contains(there, "CUDAExecutionProvider")) {
        throw error(ErrorCode::device,
                    "device 'cuda' was asked for, but this ONNX Runtime has no CUDAExecutionProvider",
                    "link ONNX Runtime's GPU build, or use device 'cpu'");
    }
    const OrtApi& api = Ort::GetApi();
    OrtCUDAProviderOptionsV2* made = nullptr;
    Ort::ThrowOnError(api.CreateCUDAProviderOptions(&made));
    const std::unique_ptr<OrtCUDAProviderOptionsV2, decltype(api.ReleaseCUDAProviderOptions)> settings(
        made, api.ReleaseCUDAProviderOptions);
    const char *key = "use_tf32", *value = "0";
    Ort::ThrowOnError(api.UpdateCUDAProviderOptions(settings.get(), &key, &value, 1));
    session.AppendExecutionProvider_CUDA_V2(*settings);
}

Ort::SessionOptions session_options(const Pool& pool, const std::string& device) {
    Ort::SessionOptions session;
    session.SetLogSeverityLevel(ORT_LOGGING_LEVEL_ERROR);
    pool.configure(session);
    if (device == "cuda") {
        try {
            use_cuda(session);
        } catch (const Ort::Exception& failure) {
            throw error(ErrorCode::device, "ONNX Runtime could not start CUDA: " + first_line(failure),
                        "check the driver, or use device 'cpu'");
        }
    } else if (device != "cpu") {
        throw error(ErrorCode::device, "unknown device '" + device + "'", "one of: cpu, cuda");
    }
    return session;
}

// The graph takes and gives what the manifest says, and nothing else.
void check_names(const Ort::Session& session, const Graph& graph, const std::string& path) {
    Ort::AllocatorWithDefaultOptions allocator;
    const auto refuse = [&](const std::string& what) {
        throw bundle_error(path + " " + what + ", unlike the manifest says");
    };
    if (session.GetInputCount() != graph.inputs.size() || session.GetOutputCount() != graph.outputs.size()) {
        refuse("has another number of inputs or outputs");
    }
    for (std::size_t index = 0; index < graph.inputs.size(); ++index) {
        const std::string name = session.GetInputNameAllocated(index, allocator).get();
        if (!contains(graph.inputs, name)) refuse("takes " + name);
    }
    for (std::size_t index = 0; index < graph.outputs.size(); ++index) {
        const std::string name = session.GetOutputNameAllocated(index, allocator).get();
        if (!contains(graph.outputs, name)) refuse("gives " + name);
    }
}

Ort::Session load(Ort::Env& environment, const std::filesystem::path& path, const Ort::SessionOptions& options) {
    try {
        return Ort::Session(environment, path.c_str(), options);
    } catch (const Ort::Exception& failure) {
        const std::string what = first_line(failure);
        if (what.find("CreateEnvWithGlobalThreadPools") != std::string::npos) {
            throw error(ErrorCode::configuration,
                        "this process has an ONNX Runtime environment without a shared thread pool already",
                        "load engines with share_pool off, or the first engine before other users of ONNX Runtime");
        }
        throw bundle_error("ONNX Runtime does not load " + path.string() + ": " + what,
                           "check the bundle: trbert-deploy verify BUNDLE");
    }
}

template <typename Number>
Tensor<Number> on_host(const Ort::Value& value, ONNXTensorElementDataType wanted) {
    const auto facts = value.GetTensorTypeAndShapeInfo();
    if (facts.GetElementType() != wanted)
        throw error(ErrorCode::runtime, "a graph gave an output of an unexpected type");
    const Number* data = value.GetTensorData<Number>();
    return {facts.GetShape(), std::vector<Number>(data, data + facts.GetElementCount())};
}

}  // namespace

void Feeds::add(const std::string& name, Ids array) {
    arrays_.push_back(std::move(array));
    Ids& kept = arrays_.back();
    kept.data.reserve(1);  // ONNX Runtime takes no null pointer for an empty tensor
    owned_.push_back(Ort::Value::CreateTensor<std::int64_t>(host(), kept.data.data(), kept.data.size(),
                                                            kept.shape.data(), kept.shape.size()));
    values_[name] = &owned_.back();
}

Sessions::Sessions(const Bundle& bundle, const std::vector<Graph>& graphs, const Options& options)
    : graphs_(graphs),
      pool_(Pool::of_process(options)),
      device_(options.device == "cuda" ? Ort::MemoryInfo("Cuda", OrtDeviceAllocator, 0, OrtMemTypeDefault)
                                       : Ort::MemoryInfo("Cpu", OrtArenaAllocator, 0, OrtMemTypeDefault)) {
    const Ort::SessionOptions settings = session_options(*pool_, options.device);
    for (const Graph& graph : graphs_) {
        const std::filesystem::path path = bundle.folder / std::filesystem::u8path(graph.file);
        sessions_.push_back(load(pool_->environment(), path, settings));
        check_names(sessions_.back(), graph, path.string());
    }
}

Values Sessions::run(std::size_t index, const Feeds& feeds, const std::function<bool(const std::string&)>& read) const {
    try {
        Ort::Session& session = sessions_[index];
        Ort::IoBinding binding(session);
        for (const std::string& name : graphs_[index].inputs) binding.BindInput(name.c_str(), feeds.at(name));
        for (const std::string& name : graphs_[index].outputs)
            binding.BindOutput(name.c_str(), read(name) ? host() : device_);
        session.Run(Ort::RunOptions(), binding);
        std::vector<Ort::Value> outputs = binding.GetOutputValues();
        Values values;
        for (std::size_t place = 0; place < outputs.size(); ++place) {
            values.emplace(graphs_[index].outputs[place], std::move(outputs[place]));
        }
        return values;
    } catch (const Ort::Exception& failure) {
        throw error(ErrorCode::runtime, "ONNX Runtime failed in " + graphs_[index].file + ": " + first_line(failure));
    }
}

Tensor<float> floats(const Ort::Value& value) { return on_host<float>(value, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT); }
Ids integers(const Ort::Value& value) { return on_host<std::int64_t>(value, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64); }

}  // namespace trbert::internal
