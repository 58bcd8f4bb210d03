// Engine files that `trbert-deploy build` wrote: what each says of itself, and which of them run here. The format and
// the rules of runtimes/plans/store.py and gpu.py.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "buckets.hpp"
#include "manifest.hpp"

namespace trbert::internal {

// What an engine file says of itself: a line of magic, a line of JSON, then the plan.
struct EngineHeader {
    std::string graph;  // file name of the ONNX graph
    std::string graph_sha256;
    std::vector<Profile> profiles;   // in order
    std::string flavor;              // of TensorRT: "tensorrt" or "rtx"
    std::string tensorrt;            // its version
    std::string compute_capability;  // as "8.9", or "any"
    std::string driver;              // the CUDA version that it offered, or "any"
    Grid grid;                       // of the build that it is part of
    std::map<std::string, Axes> inputs;
    std::uint64_t plan_bytes;
    std::string plan_sha256;
};

struct Gpu {
    std::string compute_capability;  // as "8.9"
    std::string driver;              // the CUDA version that the driver offers, as "13.0"
};

// What this library runs engines by.
struct Here {
    std::string flavor, version;
    Gpu gpu;
};

// Throws Error (bundle): it is not there, or no engine file.
EngineHeader read_header(const std::filesystem::path& path);

// The plan too, checked against its size and sha256. Throws Error (bundle).
std::pair<EngineHeader, std::string> read_engine(const std::filesystem::path& path);

// The engine files of a folder, the one that was built or asked for last first; none where there is no folder.
std::vector<std::filesystem::path> engine_files(const std::filesystem::path& folder);

// Why an engine does not run here; "" where it does.
std::string invalid_because(const EngineHeader& header, const Bundle& bundle, const Here& here);

// An engine for each graph, all of one build: of several that run here the one built or asked for last.
// Throws Error (bundle): there is none; says why the last one does not run here.
std::vector<std::filesystem::path> select_engines(const std::filesystem::path& folder, const Bundle& bundle,
                                                  const std::vector<Graph>& graphs, const Here& here);

// Where a bundle's engines lie unless told otherwise: NAME.engines beside the folder NAME.
std::filesystem::path engines_folder(const Bundle& bundle);

}  // namespace trbert::internal
