// Which TensorRT engines of a folder run here: the rules of runtimes/tensorrt/gpu.py and runtime.py.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "tensorrt/engine_file.hpp"

namespace trbert::internal {

struct Gpu {
    std::string compute_capability;  // as "8.9"
    std::string driver;              // the CUDA version that the driver offers, as "13.0"
};

// What this library runs TensorRT engines by.
struct Here {
    std::string flavor, version;
    Gpu gpu;
};

// The engine files of a folder, the one that was built or asked for last first; none where there is no folder.
std::vector<std::filesystem::path> engine_files(const std::filesystem::path& folder);

// Why a TensorRT engine does not run here; "" where it does.
std::string invalid_because(const TensorRtEngineHeader& header, const Bundle& bundle, const Here& here);

// A file for each graph, all of one build: of several that run here the one built or asked for last.
// Throws Error (bundle): there is none; says why the last one does not run here.
std::vector<std::filesystem::path> select_engine_files(const std::filesystem::path& folder, const Bundle& bundle,
                                                       const std::vector<GraphFile>& graphs, const Here& here);

}  // namespace trbert::internal
