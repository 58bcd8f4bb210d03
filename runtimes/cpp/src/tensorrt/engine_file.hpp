// The files of TensorRT engines that `trbert-deploy build` wrote, and what each says of itself: the format of
// runtimes/tensorrt/engine_cache.py.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "profiles.hpp"
#include "trbert/trbert.hpp"

namespace trbert::internal {

// A line of magic, a line of JSON, then the TensorRT engine as TensorRT serialized it.
struct TensorRtEngineHeader {
    std::string graph;  // file name of the ONNX graph
    std::string graph_sha256;
    std::vector<Profile> profiles;   // in order
    std::string flavor;              // of TensorRT: "tensorrt" or "rtx"
    std::string tensorrt;            // its version
    std::string compute_capability;  // as "8.9", or "any"
    std::string driver;              // the CUDA version that it offered, or "any"
    ShapeBuckets shapes;             // of the build that it is part of
    std::map<std::string, Axes> inputs;
    std::uint64_t serialized_bytes = 0;
    std::string serialized_sha256;
};

// What stands for a compute capability or driver that was not fixed when it was built.
inline const std::string kAny = "any";

// The last part of the files' names.
inline const std::string kEngineSuffix = ".engine";

Error engine_error(const std::filesystem::path& path, const std::string& what);

// Throws Error (bundle): it is not there, or no file of a TensorRT engine.
TensorRtEngineHeader read_engine_header(const std::filesystem::path& path);

// The serialized engine too, checked against its size and sha256. Throws Error (bundle).
std::pair<TensorRtEngineHeader, std::string> read_engine_file(const std::filesystem::path& path);

}  // namespace trbert::internal
