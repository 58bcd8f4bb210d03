#include "sessions.hpp"

#include <algorithm>

#include "errors.hpp"
#include "graphs.hpp"
#include "grouping.hpp"
#include "pool.hpp"

namespace trbert::internal {
namespace {

const Ort::MemoryInfo& host() {
    static const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    return memory;
}

// An output that ONNX Runtime holds; its numbers are on the host where it was said that they are read.
class OrtHeld : public Held {
public:
    explicit OrtHeld(Ort::Value given) : value(std::move(given)) {}

    std::vector<std::int64_t> shape() const override { return value.GetTensorTypeAndShapeInfo().GetShape(); }
    Tensor<float> floats() const override { return on_host<float>(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT); }
    Ids integers() const override { return on_host<std::int64_t>(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64); }

    const Ort::Value value;

private:
    template <typename Number>
    Tensor<Number> on_host(ONNXTensorElementDataType wanted) const {
        const auto facts = value.GetTensorTypeAndShapeInfo();
        if (facts.GetElementType() != wanted)
            throw error(ErrorCode::runtime, "a graph gave an output of an unexpected type");
        const Number* data = value.GetTensorData<Number>();
        return {facts.GetShape(), std::vector<Number>(data, data + facts.GetElementCount())};
    }
};

Ort::Value tensor_over(Ids& array) {
    array.data.reserve(1);  // ONNX Runtime takes no null pointer for an empty tensor
    return Ort::Value::CreateTensor<std::int64_t>(host(), array.data.data(), array.data.size(), array.shape.data(),
                                                  array.shape.size());
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

}  // namespace

std::string first_line(const std::exception& failure) {
    const std::string what = failure.what();
    return what.substr(0, what.find('\n'));
}

bool has_provider(const std::string& name) { return contains(Ort::GetAvailableProviders(), name); }

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

Ort::Session load_session(Pool& pool, const Bundle& bundle, const Graph& graph, const Ort::SessionOptions& options,
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

Outputs run_session(Ort::Session& session, const Graph& graph, Feeds feeds, const IsRead& is_read,
                    const Ort::MemoryInfo& device) {
    try {
        Ort::IoBinding binding(session);
        for (const std::string& name : graph.inputs) {
            Feed& feed = feeds.at(name);
            if (Ids* array = std::get_if<Ids>(&feed)) {
                binding.BindInput(name.c_str(), tensor_over(*array));
            } else {
                binding.BindInput(name.c_str(), static_cast<const OrtHeld&>(*std::get<const Held*>(feed)).value);
            }
        }
        for (const std::string& name : graph.outputs) binding.BindOutput(name.c_str(), is_read(name) ? host() : device);
        session.Run(Ort::RunOptions(), binding);
        std::vector<Ort::Value> given = binding.GetOutputValues();
        Outputs outputs;
        for (std::size_t place = 0; place < given.size(); ++place) {
            outputs.emplace(graph.outputs[place], std::make_unique<OrtHeld>(std::move(given[place])));
        }
        return outputs;
    } catch (const Ort::Exception& failure) {
        throw error(ErrorCode::runtime, "ONNX Runtime failed in " + graph.file + ": " + first_line(failure));
    }
}

InputAxes input_axes(Pool& pool, const Bundle& bundle, const Graph& graph) {
    Ort::SessionOptions options = session_options(pool);
    options.SetGraphOptimizationLevel(ORT_DISABLE_ALL);
    const Ort::Session session = load_session(pool, bundle, graph, options);
    const Ort::AllocatorWithDefaultOptions allocator;
    InputAxes inputs;
    for (std::size_t index = 0; index < session.GetInputCount(); ++index) {
        const Ort::TypeInfo type = session.GetInputTypeInfo(index);
        const auto facts = type.GetTensorTypeAndShapeInfo();
        const std::vector<std::int64_t> shape = facts.GetShape();
        std::vector<const char*> names(shape.size());
        facts.GetSymbolicDimensions(names.data(), names.size());
        Axes axes;
        for (std::size_t axis = 0; axis < shape.size(); ++axis) axes.push_back({names[axis], shape[axis]});
        inputs.emplace_back(session.GetInputNameAllocated(index, allocator).get(), std::move(axes));
    }
    return inputs;
}

SessionRunner::SessionRunner(const Bundle& bundle, const std::vector<Graph>& graphs, const Options& options)
    : graphs_(graphs), pool_(Pool::of_process(options)), device_(memory_of(options.device)) {
    Ort::SessionOptions settings = session_options(*pool_);
    if (options.device == "cuda") use_cuda(settings);
    for (const Graph& graph : graphs_) sessions_.push_back(load_session(*pool_, bundle, graph, settings));
}

std::vector<Rows> SessionRunner::plan(std::size_t, const std::vector<std::int64_t>& counts,
                                      std::int64_t sequences_a_row) {
    return plan_groups(counts, sequences_a_row);
}

Outputs SessionRunner::run(std::size_t stage, Feeds feeds, const IsRead& is_read) {
    return run_session(sessions_[stage], graphs_[stage], std::move(feeds), is_read, device_);
}

}  // namespace trbert::internal
