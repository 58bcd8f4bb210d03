// What workers need of a GPU and of TensorRT: small enough for a stand-in that computes on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "profiles.hpp"

namespace trbert::internal {

using Shapes = std::map<std::string, Shape>;  // of tensors by name

// Memory and streams of the first GPU. May be used from several threads at once; all but `free` and `close` throw
// Error (device, runtime).
class Device {
public:
    using Stream = void*;

    virtual ~Device() = default;

    // Make this the calling thread's device.
    virtual void activate() = 0;

    virtual Stream open() = 0;
    virtual void close(Stream stream) noexcept = 0;
    virtual void synchronize(Stream stream) = 0;

    // `free` comes after all work that uses the memory.
    virtual void* allocate(std::size_t bytes) = 0;
    virtual void free(void* place) noexcept = 0;

    // Copy to the device; `from` may be changed as soon as this returns.
    virtual void upload(void* place, const void* from, std::size_t bytes, Stream stream) = 0;

    // Copy from the device, after all work of the stream.
    virtual void download(void* to, const void* place, std::size_t bytes, Stream stream) = 0;
};

// A TensorRT engine at one of its profiles, for one caller.
class Context {
public:
    virtual ~Context() = default;

    // Take inputs of these shapes; returns the shapes of the outputs.
    virtual Shapes take_shapes(const Shapes& inputs) = 0;

    // Say where an input or output lies.
    virtual void bind(const std::string& name, void* place) = 0;

    // Put the work on the stream.
    virtual void enqueue(Device::Stream stream) = 0;
};

struct TensorType {
    enum class Kind { float32, int64, other } kind;
    std::size_t bytes;  // of a number
};

// The TensorRT engine of a stage; may be used from several threads at once.
class TensorRtEngine {
public:
    virtual ~TensorRtEngine() = default;
    virtual const std::map<std::string, Axes>& inputs() const = 0;
    virtual const std::vector<Profile>& profiles() const = 0;

    // Bytes that a context needs beside inputs and outputs.
    virtual std::size_t scratch() const = 0;
    virtual TensorType type(const std::string& name) const = 0;

    // Make a context that uses the memory at `scratch`.
    virtual std::unique_ptr<Context> context(std::size_t profile, void* scratch, Device::Stream stream) const = 0;
};

}  // namespace trbert::internal
