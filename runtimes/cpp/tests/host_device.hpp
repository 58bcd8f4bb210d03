// A device in memory, and TensorRT engines whose work ONNX Runtime does on the CPU: everything above TensorRT runs for
// real.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>

#include "onnxruntime/pool.hpp"
#include "onnxruntime/sessions.hpp"
#include "tensorrt/device.hpp"

namespace trbert::internal {

// Fresh and freed memory holds what would ruin an answer.
class HostDevice : public Device {
public:
    void activate() override {}
    Stream open() override {
        ++streams;
        return new char;
    }
    void close(Stream stream) noexcept override {
        --streams;
        delete static_cast<char*>(stream);
    }
    void synchronize(Stream) override {}

    void* allocate(std::size_t bytes) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        char* place = new char[bytes];
        std::memset(place, 0x7F, bytes);  // float32: 3.4e38; int64: 9e18
        blocks_[place] = bytes;
        return place;
    }
    void free(void* place) noexcept override {
        if (place == nullptr) return;
        const std::lock_guard<std::mutex> lock(mutex_);
        blocks_.erase(static_cast<char*>(place));
        delete[] static_cast<char*>(place);
    }
    void upload(void* place, const void* from, std::size_t bytes, Stream) override {
        if (bytes > room(place)) throw std::logic_error("beyond the buffer");
        if (bytes > 0) std::memcpy(place, from, bytes);
    }
    void download(void* to, const void* place, std::size_t bytes, Stream) override {
        if (bytes > room(place)) throw std::logic_error("beyond the buffer");
        std::memcpy(to, place, bytes);
        ++downloads;
    }

    std::size_t room(const void* place) const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return blocks_.at(static_cast<const char*>(place));
    }
    std::size_t blocks() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return blocks_.size();
    }

    std::atomic<int> streams{0}, downloads{0};

private:
    mutable std::mutex mutex_;
    std::map<const char*, std::size_t> blocks_;
};

// A graph with the profiles that its engine would have; refuses shapes outside its profile, as TensorRT does.
class HostEngine : public TensorRtEngine {
public:
    HostEngine(Pool& pool, const Bundle& bundle, const GraphFile& graph, std::vector<Profile> profiles,
               HostDevice& device)
        : device_(device),
          session_(load_session(pool, bundle, graph, session_options(pool))),
          profiles_(std::move(profiles)) {
        for (const TensorSpec& input : graph.inputs) inputs_[input.name] = input.axes;
        for (const TensorSpec& output : graph.outputs) outputs_.push_back(output.name);
        const Ort::AllocatorWithDefaultOptions allocator;
        const auto note = [&](const std::string& name, const Ort::TypeInfo& type) {
            types_[name] = type.GetTensorTypeAndShapeInfo().GetElementType();
        };
        for (std::size_t index = 0; index < session_.GetInputCount(); ++index)
            note(session_.GetInputNameAllocated(index, allocator).get(), session_.GetInputTypeInfo(index));
        for (std::size_t index = 0; index < session_.GetOutputCount(); ++index)
            note(session_.GetOutputNameAllocated(index, allocator).get(), session_.GetOutputTypeInfo(index));
    }

    const std::map<std::string, Axes>& inputs() const override { return inputs_; }
    const std::vector<Profile>& profiles() const override { return profiles_; }
    std::size_t scratch() const override { return 1024; }
    TensorType type(const std::string& name) const override {
        if (types_.at(name) == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) return {TensorType::Kind::float32, 4};
        if (types_.at(name) == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) return {TensorType::Kind::int64, 8};
        return {TensorType::Kind::other, types_.at(name) == ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL ? 1U : 4U};
    }
    std::unique_ptr<Context> context(std::size_t profile, void* scratch, Device::Stream) const override;

private:
    friend class HostContext;

    HostDevice& device_;
    mutable Ort::Session session_;
    std::vector<Profile> profiles_;
    std::vector<std::string> outputs_;
    std::map<std::string, Axes> inputs_;
    std::map<std::string, ONNXTensorElementDataType> types_;
};

class HostContext : public Context {
public:
    HostContext(const HostEngine& engine, const Profile& profile) : engine_(engine), profile_(profile) {}

    Shapes take_shapes(const Shapes& inputs) override {
        Sizes sizes;
        for (const auto& [name, axes] : engine_.inputs_) {
            for (std::size_t place = 0; place < axes.size(); ++place)
                if (axes[place].varies()) sizes[axes[place].name] = inputs.at(name)[place];
        }
        if (!profile_.fits(sizes)) throw std::logic_error("shapes outside the profile");
        shapes_ = inputs;
        // As TensorRT, it knows the outputs' shapes from the inputs' shapes, whatever they hold.
        std::map<std::string, std::vector<char>> blank;
        for (const auto& [name, shape] : inputs) blank[name].resize(bytes(name, shape) + 1);
        Shapes given;
        const std::vector<Ort::Value> values = run([&](const std::string& name) { return blank[name].data(); });
        for (std::size_t place = 0; place < values.size(); ++place)
            given[engine_.outputs_[place]] = values[place].GetTensorTypeAndShapeInfo().GetShape();
        return given;
    }

    void bind(const std::string& name, void* place) override { places_[name] = static_cast<char*>(place); }

    void enqueue(Device::Stream) override {
        for (const auto& [name, shape] : shapes_) {
            if (bytes(name, shape) > engine_.device_.room(places_.at(name)))
                throw std::logic_error("beyond the buffer");
        }
        const std::vector<Ort::Value> values = run([&](const std::string& name) { return places_.at(name); });
        for (std::size_t place = 0; place < values.size(); ++place) {
            const std::string& name = engine_.outputs_[place];
            const std::size_t size = bytes(name, values[place].GetTensorTypeAndShapeInfo().GetShape());
            if (size > engine_.device_.room(places_.at(name))) throw std::logic_error("beyond the buffer");
            std::memcpy(places_.at(name), values[place].GetTensorRawData(), size);
        }
    }

private:
    std::size_t bytes(const std::string& name, const Shape& shape) const {
        std::size_t size = engine_.type(name).bytes;
        for (const std::int64_t extent : shape) size *= static_cast<std::size_t>(extent);
        return size;
    }

    template <typename Where>
    std::vector<Ort::Value> run(Where where) {
        const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        std::vector<const char*> inputs, outputs;
        std::vector<Ort::Value> values;
        for (const auto& [name, shape] : shapes_) {
            inputs.push_back(name.c_str());
            values.push_back(Ort::Value::CreateTensor(memory, where(name), bytes(name, shape), shape.data(),
                                                      shape.size(), engine_.types_.at(name)));
        }
        for (const std::string& name : engine_.outputs_) outputs.push_back(name.c_str());
        return engine_.session_.Run(Ort::RunOptions(), inputs.data(), values.data(), values.size(), outputs.data(),
                                    outputs.size());
    }

    const HostEngine& engine_;
    const Profile& profile_;
    Shapes shapes_;
    std::map<std::string, char*> places_;
};

inline std::unique_ptr<Context> HostEngine::context(std::size_t profile, void* scratch, Device::Stream) const {
    if (device_.room(scratch) < this->scratch()) throw std::logic_error("too little scratch");
    return std::make_unique<HostContext>(*this, profiles_.at(profile));
}

}  // namespace trbert::internal
