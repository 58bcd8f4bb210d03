#include "tensorrt/engine_cache.hpp"

#include <algorithm>
#include <map>

#include "core/errors.hpp"

namespace trbert::internal {
namespace {

namespace fs = std::filesystem;

// TensorRT-RTX's engines that name no compute capability run from here on.
constexpr const char* kLeastPortable = "8.0";

// "8.9" as a number that compares: 8009. 0 where it is something else.
int capability_of(const std::string& text) {
    const std::size_t dot = text.find('.');
    const auto number = [](const std::string& digits) {
        const bool fine =
            !digits.empty() && digits.size() < 4 && digits.find_first_not_of("0123456789") == std::string::npos;
        return fine ? std::stoi(digits) : 0;
    };
    return dot == std::string::npos ? 0 : number(text.substr(0, dot)) * 1000 + number(text.substr(dot + 1));
}

// Engines of one build that run here.
struct Build {
    ShapeBuckets shapes;
    std::map<std::string, fs::path> files;  // by graph
};

// What was found in a folder.
struct Found {
    std::vector<Build> builds;                   // the last first
    std::map<std::string, std::string> reasons;  // by graph, why its last engine does not run; "": of what is none
};

Found look(const fs::path& folder, const Bundle& bundle, const std::vector<GraphFile>& graphs, const Here& here) {
    Found found;
    for (const fs::path& path : engine_files(folder)) {
        TensorRtEngineHeader header;
        try {
            header = read_engine_header(path);
        } catch (const Error& failure) {
            found.reasons.try_emplace("", failure.what());
            continue;
        }
        if (std::none_of(graphs.begin(), graphs.end(),
                         [&](const GraphFile& graph) { return graph.file == header.graph; }))
            continue;
        if (const std::string reason = invalid_because(header, bundle, here); !reason.empty()) {
            found.reasons.try_emplace(header.graph, path.filename().string() + ": " + reason);
            continue;
        }
        auto build = std::find_if(found.builds.begin(), found.builds.end(),
                                  [&](const Build& one) { return one.shapes == header.shapes; });
        if (build == found.builds.end()) build = found.builds.insert(build, Build{header.shapes, {}});
        build->files.try_emplace(header.graph, path);
    }
    return found;
}

// The error where no build has an engine for every graph: it names one that is missing in all of them.
Error none_runs(const Found& found, const fs::path& folder, const Bundle& bundle,
                const std::vector<GraphFile>& graphs) {
    std::string missing = graphs.front().file;
    for (const GraphFile& graph : graphs) {
        const bool somewhere = std::any_of(found.builds.begin(), found.builds.end(),
                                           [&](const Build& build) { return build.files.count(graph.file) > 0; });
        if (somewhere) continue;
        missing = graph.file;
        break;
    }
    std::string why = folder.string() + " holds none";
    for (const std::string& of : {std::string(), missing}) {
        if (const auto reason = found.reasons.find(of); reason != found.reasons.end()) why = reason->second;
    }
    const bool fused = graphs.front().file == bundle.fused.file;
    return bundle_error("there is no TensorRT engine of " + missing + " that runs here (" + why + ")",
                        "trbert-deploy build " + bundle.folder.string() + (fused ? " --fused" : ""));
}

}  // namespace

std::vector<fs::path> engine_files(const fs::path& folder) {
    std::vector<std::pair<fs::file_time_type, fs::path>> found;
    std::error_code failure;
    for (fs::directory_iterator entry(folder, failure), end; !failure && entry != end; entry.increment(failure)) {
        const fs::path name = entry->path().filename();
        if (name.extension() != kEngineSuffix || name.string()[0] == '.') continue;
        const auto changed = entry->last_write_time(failure);
        if (!failure) found.emplace_back(changed, entry->path());
        failure.clear();
    }
    std::sort(found.begin(), found.end(), [](const auto& one, const auto& other) {
        return one.first != other.first ? one.first > other.first : one.second.filename() < other.second.filename();
    });
    std::vector<fs::path> files;
    for (auto& entry : found) files.push_back(std::move(entry.second));
    return files;
}

std::string invalid_because(const TensorRtEngineHeader& header, const Bundle& bundle, const Here& here) {
    const auto facts = bundle.files.find(header.graph);
    if (facts == bundle.files.end() || facts->second.sha256 != header.graph_sha256)
        return "built from another " + header.graph + " than the bundle's";
    if (header.shapes.kept.size() != bundle.reductions()) return "built for another number of reductions";
    if (header.flavor != here.flavor)
        return "needs " + header.flavor + " " + header.tensorrt + ", this library was built with " + here.flavor;
    if (header.tensorrt != here.version)
        return "built by " + header.flavor + " " + header.tensorrt + ", linked is " + here.version;
    if (header.driver != kAny && header.driver != here.gpu.driver)
        return "built under a driver for CUDA " + header.driver + ", this one offers " + here.gpu.driver;
    if (header.compute_capability == kAny) {
        const bool runs = capability_of(here.gpu.compute_capability) >= capability_of(kLeastPortable);
        return runs ? "" : std::string("runs from compute capability ") + kLeastPortable + " on";
    }
    if (header.compute_capability == here.gpu.compute_capability) return "";
    return "built for compute capability " + header.compute_capability + ", this GPU has " +
           here.gpu.compute_capability;
}

std::vector<fs::path> select_engine_files(const fs::path& folder, const Bundle& bundle,
                                          const std::vector<GraphFile>& graphs, const Here& here) {
    const Found found = look(folder, bundle, graphs, here);
    for (const Build& build : found.builds) {
        std::vector<fs::path> files;
        for (const GraphFile& graph : graphs) {
            if (const auto file = build.files.find(graph.file); file != build.files.end())
                files.push_back(file->second);
        }
        if (files.size() == graphs.size()) return files;
    }
    throw none_runs(found, folder, bundle, graphs);
}

}  // namespace trbert::internal
