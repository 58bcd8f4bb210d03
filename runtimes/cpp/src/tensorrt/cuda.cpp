#include "tensorrt/cuda.hpp"

#include <string>

#include "core/errors.hpp"
#include "tensorrt/engine_cache.hpp"

namespace trbert::internal {
namespace {

class CudaDevice : public Device {
public:
    CudaDevice() { activate(); }

    void activate() override { check_cuda(cudaSetDevice(0)); }

    Stream open() override {
        cudaStream_t stream = nullptr;
        check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
        return stream;
    }
    void close(Stream stream) noexcept override { cudaStreamDestroy(static_cast<cudaStream_t>(stream)); }
    void synchronize(Stream stream) override { check_cuda(cudaStreamSynchronize(static_cast<cudaStream_t>(stream))); }

    void* allocate(std::size_t bytes) override {
        void* place = nullptr;
        check_cuda(cudaMalloc(&place, bytes));
        return place;
    }
    void free(void* place) noexcept override { cudaFree(place); }

    // From pageable memory: CUDA has taken a copy when the call returns.
    void upload(void* place, const void* from, std::size_t bytes, Stream stream) override {
        check_cuda(cudaMemcpyAsync(place, from, bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)));
    }
    void download(void* to, const void* place, std::size_t bytes, Stream stream) override {
        check_cuda(cudaMemcpyAsync(to, place, bytes, cudaMemcpyDeviceToHost, static_cast<cudaStream_t>(stream)));
        synchronize(stream);
    }
};

}  // namespace

void check_cuda(cudaError_t code) {
    if (code == cudaSuccess) return;
    const std::string says = std::string("CUDA says ") + cudaGetErrorName(code) + ": " + cudaGetErrorString(code);
    cudaGetLastError();  // an error that does not stick is not met again by the next call
    if (code == cudaErrorInsufficientDriver) {
        throw error(ErrorCode::device,
                    "there is no NVIDIA driver on this machine, or one that is too old (" + says + ")",
                    "install the driver, in a container start it with --gpus all; without a GPU use runtime 'ort'");
    }
    if (code == cudaErrorNoDevice) {
        throw error(ErrorCode::device, "the NVIDIA driver sees no GPU (" + says + ")",
                    "check nvidia-smi and CUDA_VISIBLE_DEVICES");
    }
    const bool memory = code == cudaErrorMemoryAllocation;
    throw error(ErrorCode::device, says,
                memory ? "free GPU memory, or build with a smaller --max-batch" : "check nvidia-smi");
}

Gpu look_at_gpu() {
    int devices = 0, major = 0, minor = 0, driver = 0;
    check_cuda(cudaGetDeviceCount(&devices));
    if (devices == 0) check_cuda(cudaErrorNoDevice);
    check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
    check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
    check_cuda(cudaDriverGetVersion(&driver));  // 13000 is 13.0
    return {std::to_string(major) + "." + std::to_string(minor),
            std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10)};
}

std::unique_ptr<Device> open_device() { return std::make_unique<CudaDevice>(); }

}  // namespace trbert::internal
