// Running graphs by ONNX Runtime's sessions.
#include <limits>

#include "core/errors.hpp"
#include "core/grouping.hpp"
#include "onnxruntime/pool.hpp"
#include "onnxruntime/sessions.hpp"

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

    Shape shape() const override { return value.GetTensorTypeAndShapeInfo().GetShape(); }
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

}  // namespace

Outputs run_session(Ort::Session& session, const GraphFile& graph, Feeds feeds, const IsRead& is_read,
                    const Ort::MemoryInfo& device, const Ort::RunOptions& options) {
    try {
        Ort::IoBinding binding(session);
        for (const TensorSpec& input : graph.inputs) {
            const char* const name = input.name.c_str();
            Feed& feed = feeds.at(input.name);
            if (Ids* array = std::get_if<Ids>(&feed)) {
                binding.BindInput(name, tensor_over(*array));
            } else {
                binding.BindInput(name, static_cast<const OrtHeld&>(*std::get<const Held*>(feed)).value);
            }
        }
        for (const TensorSpec& output : graph.outputs)
            binding.BindOutput(output.name.c_str(), is_read(output.name) ? host() : device);
        session.Run(options, binding);
        std::vector<Ort::Value> given = binding.GetOutputValues();
        Outputs outputs;
        for (std::size_t place = 0; place < given.size(); ++place) {
            outputs.emplace(graph.outputs[place].name, std::make_unique<OrtHeld>(std::move(given[place])));
        }
        return outputs;
    } catch (const Ort::Exception& failure) {
        throw error(ErrorCode::runtime, "ONNX Runtime failed in " + graph.file + ": " + first_line(failure));
    }
}

SessionRunner::SessionRunner(const Bundle& bundle, const std::vector<GraphFile>& graphs, const Options& options)
    : graphs_(graphs),
      pool_(Pool::of_process(options)),
      device_(memory_of(options.device)),
      group_tokens_(options.group_tokens > 0  ? options.group_tokens
                    : options.device == "cpu" ? kCpuGroupTokens
                                              : kMaxGroupTokens) {
    Ort::SessionOptions settings = session_options(*pool_);
    if (options.device == "cuda") use_cuda(settings);
    if (options.memory == "lean") settings.DisableCpuMemArena();
    if (options.memory == "shrink" && options.device == "cpu") {
        run_options_.AddConfigEntry("memory.enable_memory_arena_shrinkage", "cpu:0");
    }
    for (const GraphFile& graph : graphs_) sessions_.push_back(load_session(*pool_, bundle, graph, settings));
}

std::vector<Rows> SessionRunner::group(std::size_t, const Rows& counts, std::int64_t sequences) {
    return group_rows(counts, sequences, kGroupOverheadTokens, std::numeric_limits<std::int64_t>::max(), group_tokens_);
}

Outputs SessionRunner::run(std::size_t stage, Feeds feeds, const IsRead& is_read) {
    return run_session(sessions_[stage], graphs_[stage], std::move(feeds), is_read, device_, run_options_);
}

}  // namespace trbert::internal
