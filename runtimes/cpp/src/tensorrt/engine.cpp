#include "tensorrt/engine.hpp"

#include <NvInfer.h>

#include <mutex>
#include <vector>

#include "core/errors.hpp"
#include "tensorrt/cuda.hpp"

namespace trbert::internal {
namespace {

#ifdef TRBERT_TENSORRT_RTX
constexpr const char* kFlavor = "rtx";
constexpr const char* kTitle = "TensorRT-RTX";
#else
constexpr const char* kFlavor = "tensorrt";
constexpr const char* kTitle = "TensorRT";
#endif

// Keeps the last error for the exception; says nothing otherwise.
class Logger : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override {
        if (severity != Severity::kERROR && severity != Severity::kINTERNAL_ERROR) return;
        try {
            const std::lock_guard<std::mutex> lock(mutex_);
            last_ = message;
        } catch (...) {
            // No memory for a message.
        }
    }
    std::string last() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return last_.empty() ? "it gives no reason" : last_;
    }

private:
    mutable std::mutex mutex_;
    std::string last_;
};

nvinfer1::Dims dims_of(const Shape& shape) {
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<std::int32_t>(shape.size());
    for (std::size_t axis = 0; axis < shape.size() && axis < nvinfer1::Dims::MAX_DIMS; ++axis)
        dims.d[axis] = shape[axis];
    return dims;
}

TensorType type_of(nvinfer1::DataType type) {
    using nvinfer1::DataType;
    switch (type) {
        case DataType::kFLOAT:
            return {TensorType::Kind::float32, 4};
        case DataType::kINT64:
            return {TensorType::Kind::int64, 8};
        case DataType::kINT32:
            return {TensorType::Kind::other, 4};
        case DataType::kHALF:
        case DataType::kBF16:
            return {TensorType::Kind::other, 2};
        case DataType::kBOOL:
        case DataType::kINT8:
        case DataType::kUINT8:
            return {TensorType::Kind::other, 1};
        default:
            throw error(ErrorCode::bundle, "a TensorRT engine has a tensor of a type that no stage has");
    }
}

class EngineContext : public Context {
public:
    EngineContext(std::unique_ptr<nvinfer1::IExecutionContext> context, const std::vector<std::string>& outputs,
                  const Logger& logger)
        : context_(std::move(context)), outputs_(outputs), logger_(logger) {}

    Shapes take_shapes(const Shapes& inputs) override {
        for (const auto& [name, shape] : inputs) {
            require(context_->setInputShape(name.c_str(), dims_of(shape)), "does not take the shape of " + name);
        }
        const char* missing = nullptr;
        require(context_->inferShapes(1, &missing) == 0, "lacks the shape of an input");
        Shapes shapes;
        for (const std::string& name : outputs_) {
            const nvinfer1::Dims dims = context_->getTensorShape(name.c_str());
            for (std::int32_t axis = 0; axis < dims.nbDims; ++axis) shapes[name].push_back(dims.d[axis]);
        }
        return shapes;
    }

    void bind(const std::string& name, void* place) override {
        require(context_->setTensorAddress(name.c_str(), place), "does not take the address of " + name);
    }

    void enqueue(Device::Stream stream) override {
        require(context_->enqueueV3(static_cast<cudaStream_t>(stream)), "does not run the engine");
    }

private:
    void require(bool done, const std::string& what) const {
        if (!done) throw error(ErrorCode::runtime, std::string(kTitle) + " " + what + ": " + logger_.last());
    }

    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    const std::vector<std::string>& outputs_;
    const Logger& logger_;
};

// A deserialized TensorRT engine: weights and kernels on the device, shared by all contexts.
class LoadedEngine : public TensorRtEngine {
public:
    LoadedEngine(const TensorRtEngineHeader& header, const std::string& serialized) : profiles_(header.profiles) {
        runtime_.reset(nvinfer1::createInferRuntime(logger_));
        if (!runtime_) refuse(ErrorCode::device, "does not start");
        engine_.reset(runtime_->deserializeCudaEngine(serialized.data(), serialized.size()));
        if (!engine_) refuse(ErrorCode::bundle, "does not load the engine of " + header.graph);
        for (std::int32_t number = 0; number < engine_->getNbIOTensors(); ++number) {
            const std::string name = engine_->getIOTensorName(number);
            types_[name] = type_of(engine_->getTensorDataType(name.c_str()));
            if (engine_->getTensorIOMode(name.c_str()) == nvinfer1::TensorIOMode::kOUTPUT) {
                output_names_.push_back(name);
            } else if (const auto axes = header.inputs.find(name); axes != header.inputs.end()) {
                inputs_[name] = axes->second;
            } else {
                throw bundle_error("the TensorRT engine of " + header.graph + " takes " + name + ", unlike it says");
            }
        }
#ifdef TRBERT_TENSORRT_RTX
        config_.reset(engine_->createRuntimeConfig());
        if (!config_) refuse(ErrorCode::device, "makes no configuration");
        config_->setExecutionContextAllocationStrategy(kUserManaged);
        cache_.reset(config_->createRuntimeCache());  // contexts share the kernels compiled so far
        if (!cache_ || !config_->setRuntimeCache(*cache_)) refuse(ErrorCode::device, "makes no cache");
#endif
    }

    const std::map<std::string, Axes>& inputs() const override { return inputs_; }
    const std::vector<Profile>& profiles() const override { return profiles_; }
    std::size_t scratch() const override { return static_cast<std::size_t>(engine_->getDeviceMemorySizeV2()); }
    TensorType type(const std::string& name) const override { return types_.at(name); }

    std::unique_ptr<Context> context(std::size_t profile, void* scratch, Device::Stream stream) const override {
        std::unique_ptr<nvinfer1::IExecutionContext> made;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
#ifdef TRBERT_TENSORRT_RTX
            made.reset(engine_->createExecutionContext(config_.get()));
#else
            made.reset(engine_->createExecutionContext(kUserManaged));
#endif
        }
        if (!made) refuse(ErrorCode::device, "makes no execution context");
        if (scratch != nullptr) made->setDeviceMemoryV2(scratch, engine_->getDeviceMemorySizeV2());
        if (!made->setOptimizationProfileAsync(static_cast<std::int32_t>(profile), static_cast<cudaStream_t>(stream))) {
            refuse(ErrorCode::runtime, "does not switch to profile " + std::to_string(profile));
        }
        check_cuda(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)));
        return std::make_unique<EngineContext>(std::move(made), output_names_, logger_);
    }

private:
    static constexpr auto kUserManaged = nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED;

    [[noreturn]] void refuse(ErrorCode code, const std::string& what) const {
        throw error(code, std::string(kTitle) + " " + tensorrt_version() + " " + what + ": " + logger_.last(),
                    code == ErrorCode::bundle ? "build it again: trbert-deploy build BUNDLE" : "check nvidia-smi");
    }

    // Each is used by those after it, as long as they live.
    Logger logger_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
#ifdef TRBERT_TENSORRT_RTX
    std::unique_ptr<nvinfer1::IRuntimeConfig> config_;
    std::unique_ptr<nvinfer1::IRuntimeCache> cache_;
#endif
    std::vector<Profile> profiles_;
    std::map<std::string, Axes> inputs_;
    std::map<std::string, TensorType> types_;
    std::vector<std::string> output_names_;
    mutable std::mutex mutex_;
};

}  // namespace

std::string tensorrt_version() {
    return std::to_string(getInferLibMajorVersion()) + "." + std::to_string(getInferLibMinorVersion()) + "." +
           std::to_string(getInferLibPatchVersion()) + "." + std::to_string(getInferLibBuildVersion());
}

Here look_here() { return {kFlavor, tensorrt_version(), look_at_gpu()}; }

std::unique_ptr<const TensorRtEngine> load_tensorrt_engine(const TensorRtEngineHeader& header,
                                                           const std::string& serialized) {
    return std::make_unique<LoadedEngine>(header, serialized);
}

}  // namespace trbert::internal
