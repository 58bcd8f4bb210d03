#include "tensorrt/engine_file.hpp"

#include <algorithm>
#include <fstream>
#include <stdexcept>

#include "bundle/read_specs.hpp"
#include "core/errors.hpp"
#include "core/sha256.hpp"

namespace trbert::internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMagic = "TRBERT-DEPLOY-ENGINE-1";
constexpr std::size_t kMaxHeaderBytes = 1 << 24;

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

ShapeBuckets read_shapes(const Json& part) {
    ShapeBuckets shapes{read_buckets(part.at("lengths")), {}, positive(part.at("rows")), positive(part.at("items"))};
    for (const Json& buckets : part.at("kept")) shapes.kept.push_back(read_buckets(buckets));
    return shapes;
}

Profile read_profile(const Json& part) {
    Profile profile;
    for (const auto& [axis, range] : part.at("axes").items()) {
        require(range.is_array() && range.size() == 3, "a range has not three sizes");
        profile.axes.push_back({axis, {positive(range[0]), positive(range[1]), positive(range[2])}});
    }
    return profile;
}

TensorRtEngineHeader parse_header(const std::string& line) {
    const Json header = parse_json(line);
    const Json& key = header.at("key");
    TensorRtEngineHeader read;
    header.at("graph").get_to(read.graph);
    key.at("graph_sha256").get_to(read.graph_sha256);
    for (const Json& profile : key.at("profiles")) read.profiles.push_back(read_profile(profile));
    key.at("flavor").get_to(read.flavor);
    key.at("tensorrt").get_to(read.tensorrt);
    key.at("compute_capability").get_to(read.compute_capability);
    key.at("driver").get_to(read.driver);
    read.shapes = read_shapes(header.at("grid"));
    for (const auto& [name, axes] : header.at("inputs").items()) read.inputs[name] = read_axes(axes);
    read.serialized_bytes = static_cast<std::uint64_t>(at_least(0, header, "plan_bytes"));
    header.at("plan_sha256").get_to(read.serialized_sha256);
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

TensorRtEngineHeader read_header(std::istream& file, const fs::path& path) {
    if (!file) throw engine_error(path, "cannot be read");
    if (bounded_line(file, 64) != kMagic) throw engine_error(path, "is no TensorRT engine of this release");
    try {
        return parse_header(bounded_line(file, kMaxHeaderBytes));
    } catch (const std::exception& failure) {  // of JSON types, and ours
        throw engine_error(path, std::string("is corrupt: its header: ") + failure.what());
    }
}

}  // namespace

Error engine_error(const fs::path& path, const std::string& what) {
    return bundle_error(path.string() + " " + what, "build it again: trbert-deploy build BUNDLE");
}

TensorRtEngineHeader read_engine_header(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return read_header(file, path);
}

std::pair<TensorRtEngineHeader, std::string> read_engine_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    TensorRtEngineHeader header = read_header(file, path);
    std::error_code failure;
    const std::uint64_t whole = fs::file_size(path, failure);
    const std::uint64_t before = static_cast<std::uint64_t>(file.tellg());
    const std::uint64_t given = failure || whole < before ? 0 : whole - before;
    if (given != header.serialized_bytes) {
        throw engine_error(path, "is corrupt: " + std::to_string(given) + " bytes of engine, not " +
                                     std::to_string(header.serialized_bytes));
    }
    std::string engine(static_cast<std::size_t>(given), '\0');
    if (!file.read(engine.data(), static_cast<std::streamsize>(engine.size())))
        throw engine_error(path, "cannot be read");
    if (sha256_of_bytes(engine) != header.serialized_sha256)
        throw engine_error(path, "is corrupt: the sha256 of its engine is another");
    return {std::move(header), std::move(engine)};
}

}  // namespace trbert::internal
