#include "plans/store.hpp"

#include <algorithm>
#include <fstream>
#include <limits>
#include <stdexcept>

#include "errors.hpp"
#include "json.hpp"
#include "sha256.hpp"

namespace trbert::internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMagic = "TRBERT-DEPLOY-ENGINE-1";
constexpr const char* kSuffix = ".engine";
constexpr const char* kAny = "any";  // a compute capability or driver that was not fixed when it was built
constexpr const char* kBuild = "build it again: trbert-deploy build BUNDLE";
constexpr std::size_t kMaxHeaderBytes = 1 << 24;

Error engine_error(const fs::path& path, const std::string& what) {
    return bundle_error(path.string() + " " + what, kBuild);
}

void require(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(what);
}

std::int64_t positive(const Json& value) {
    const std::int64_t number = integer(value);
    require(number >= 1, "a size is not positive");
    return number;
}

Buckets read_buckets(const Json& part) {
    Buckets buckets;
    for (const Json& size : part) buckets.push_back(positive(size));
    require(!buckets.empty() && std::is_sorted(buckets.begin(), buckets.end()), "buckets do not ascend");
    return buckets;
}

Grid read_grid(const Json& part) {
    Grid grid{read_buckets(part.at("lengths")), {}, positive(part.at("rows")), positive(part.at("items"))};
    for (const Json& buckets : part.at("kept")) grid.kept.push_back(read_buckets(buckets));
    return grid;
}

Profile read_profile(const Json& part) {
    Profile profile;
    for (const auto& [axis, range] : part.at("axes").items()) {
        require(range.is_array() && range.size() == 3, "a range has not three sizes");
        profile.axes.push_back({axis, {positive(range[0]), positive(range[1]), positive(range[2])}});
    }
    return profile;
}

Axes read_axes(const Json& part) {
    Axes axes;
    for (const Json& axis : part) {
        axes.push_back(axis.is_string() ? Axis{axis.get<std::string>()} : Axis{"", positive(axis)});
    }
    return axes;
}

EngineHeader parse_header(const std::string& line) {
    const Json header = parse_json(line);
    const Json& key = header.at("key");
    EngineHeader read;
    header.at("graph").get_to(read.graph);
    key.at("graph_sha256").get_to(read.graph_sha256);
    for (const Json& profile : key.at("profiles")) read.profiles.push_back(read_profile(profile));
    key.at("flavor").get_to(read.flavor);
    key.at("tensorrt").get_to(read.tensorrt);
    key.at("compute_capability").get_to(read.compute_capability);
    key.at("driver").get_to(read.driver);
    read.grid = read_grid(header.at("grid"));
    for (const auto& [name, axes] : header.at("inputs").items()) read.inputs[name] = read_axes(axes);
    const std::int64_t bytes = integer(header.at("plan_bytes"));
    require(bytes >= 0, "plan_bytes is negative");
    read.plan_bytes = static_cast<std::uint64_t>(bytes);
    header.at("plan_sha256").get_to(read.plan_sha256);
    return read;
}

// A line that is not longer than a header can be; "" where it is, or there is none.
std::string bounded_line(std::istream& file, std::size_t most) {
    std::string line;
    for (int byte = file.get(); byte != std::char_traits<char>::eof(); byte = file.get()) {
        if (byte == '\n') return line;
        if (line.size() == most) return "";
        line += static_cast<char>(byte);
    }
    return "";
}

EngineHeader read_header(std::istream& file, const fs::path& path) {
    if (!file) throw engine_error(path, "cannot be read");
    if (bounded_line(file, 64) != kMagic) throw engine_error(path, "is no engine of this release");
    try {
        return parse_header(bounded_line(file, kMaxHeaderBytes));
    } catch (const std::exception& failure) {  // of JSON types, and ours
        throw engine_error(path, std::string("is corrupt: its header: ") + failure.what());
    }
}

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

// Engines of TensorRT-RTX that name no compute capability run from here on.
constexpr const char* kLeastPortable = "8.0";

struct Build {
    Grid grid;
    std::map<std::string, fs::path> engines;  // by graph
};

}  // namespace

EngineHeader read_header(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return read_header(file, path);
}

std::pair<EngineHeader, std::string> read_engine(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    EngineHeader header = read_header(file, path);
    std::error_code failure;
    const std::uint64_t whole = fs::file_size(path, failure);
    const std::uint64_t before = static_cast<std::uint64_t>(file.tellg());
    const std::uint64_t given = failure || whole < before ? 0 : whole - before;
    if (given != header.plan_bytes) {
        throw engine_error(
            path, "is corrupt: " + std::to_string(given) + " bytes of plan, not " + std::to_string(header.plan_bytes));
    }
    std::string plan(static_cast<std::size_t>(given), '\0');
    if (!file.read(plan.data(), static_cast<std::streamsize>(plan.size()))) throw engine_error(path, "cannot be read");
    if (sha256_of_bytes(plan) != header.plan_sha256) {
        throw engine_error(path, "is corrupt: the sha256 of its plan is another");
    }
    return {std::move(header), std::move(plan)};
}

std::vector<fs::path> engine_files(const fs::path& folder) {
    std::vector<std::pair<fs::file_time_type, fs::path>> found;
    std::error_code failure;
    for (fs::directory_iterator entry(folder, failure), end; !failure && entry != end; entry.increment(failure)) {
        const fs::path name = entry->path().filename();
        if (name.extension() != kSuffix || name.string()[0] == '.') continue;
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

std::string invalid_because(const EngineHeader& header, const Bundle& bundle, const Here& here) {
    const auto facts = bundle.files.find(header.graph);
    if (facts == bundle.files.end() || facts->second.sha256 != header.graph_sha256) {
        return "built from another " + header.graph + " than the bundle's";
    }
    if (header.grid.kept.size() != bundle.reductions) return "built for another number of reductions";
    if (header.flavor != here.flavor) {
        return "needs " + header.flavor + " " + header.tensorrt + ", this library was built with " + here.flavor;
    }
    if (header.tensorrt != here.version) {
        return "built by " + header.flavor + " " + header.tensorrt + ", linked is " + here.version;
    }
    if (header.driver != kAny && header.driver != here.gpu.driver) {
        return "built under a driver for CUDA " + header.driver + ", this one offers " + here.gpu.driver;
    }
    if (header.compute_capability == kAny) {
        const bool runs = capability_of(here.gpu.compute_capability) >= capability_of(kLeastPortable);
        return runs ? "" : std::string("runs from compute capability ") + kLeastPortable + " on";
    }
    if (header.compute_capability != here.gpu.compute_capability) {
        return "built for compute capability " + header.compute_capability + ", this GPU has " +
               here.gpu.compute_capability;
    }
    return "";
}

std::vector<fs::path> select_engines(const fs::path& folder, const Bundle& bundle, const std::vector<Graph>& graphs,
                                     const Here& here) {
    const auto wanted = [&](const std::string& file) {
        return std::any_of(graphs.begin(), graphs.end(), [&](const Graph& graph) { return graph.file == file; });
    };
    std::vector<Build> builds;                   // the last first
    std::map<std::string, std::string> reasons;  // by graph, of the last one; "": of files that are none
    for (const fs::path& path : engine_files(folder)) {
        EngineHeader header;
        try {
            header = read_header(path);
        } catch (const Error& failure) {
            reasons.try_emplace("", failure.what());
            continue;
        }
        if (!wanted(header.graph)) continue;
        if (const std::string reason = invalid_because(header, bundle, here); !reason.empty()) {
            reasons.try_emplace(header.graph, path.filename().string() + ": " + reason);
            continue;
        }
        auto build =
            std::find_if(builds.begin(), builds.end(), [&](const Build& one) { return one.grid == header.grid; });
        if (build == builds.end()) build = builds.insert(builds.end(), Build{header.grid, {}});
        build->engines.try_emplace(header.graph, path);
    }
    std::string missing;
    for (const Build& build : builds) {
        std::vector<fs::path> engines;
        for (const Graph& graph : graphs) {
            if (const auto found = build.engines.find(graph.file); found != build.engines.end())
                engines.push_back(found->second);
        }
        if (engines.size() == graphs.size()) return engines;
    }
    for (const Graph& graph : graphs) {
        const bool somewhere = std::any_of(builds.begin(), builds.end(),
                                           [&](const Build& build) { return build.engines.count(graph.file) > 0; });
        if (!somewhere && missing.empty()) missing = graph.file;
    }
    if (missing.empty()) missing = graphs.front().file;
    std::string why = folder.string() + " holds none";
    for (const std::string& of : {missing, std::string()}) {
        if (const auto reason = reasons.find(of); reason != reasons.end()) {
            why = reason->second;
            break;
        }
    }
    const bool fused = graphs.front().file == bundle.fused.file;
    throw bundle_error("there is no TensorRT engine of " + missing + " that runs here (" + why + ")",
                       "trbert-deploy build " + bundle.folder.string() + (fused ? " --fused" : ""));
}

fs::path engines_folder(const Bundle& bundle) {
    const fs::path folder = fs::canonical(bundle.folder);
    return folder.parent_path() / fs::path(folder.filename()).concat(".engines");
}

}  // namespace trbert::internal
