#include "bundle/files.hpp"

#include <algorithm>

#include "core/sha256.hpp"

namespace trbert::internal {
namespace {

namespace fs = std::filesystem;

// What links of a bundle may not leave: itself, or the cache of the Hugging Face Hub, whose snapshots are links.
fs::path root_of(const fs::path& folder) {
    const fs::path model = folder.parent_path().parent_path();
    std::error_code failure;
    const bool cached = folder.parent_path().filename() == "snapshots" && fs::is_directory(model / "blobs", failure);
    return cached ? model : folder;
}

bool lies_in(const fs::path& root, const fs::path& path) {
    return std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first == root.end();
}

bool is_version_number(const std::string& text) {
    return !text.empty() && text.size() <= 6 && text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

bool is_inside(const std::string& name) {
    if (name.find_first_of(std::string("\\:\0", 3)) != std::string::npos) return false;
    const fs::path path = fs::u8path(name);
    return !path.is_absolute() && std::find(path.begin(), path.end(), "..") == path.end();
}

std::string damage(const Bundle& bundle, const std::string& name, bool content) {
    const FileFacts& wanted = bundle.files.at(name);
    const fs::path path = bundle.folder / fs::u8path(name);
    std::error_code failure;
    if (!fs::exists(path, failure)) return name + " is missing";
    const fs::path folder = fs::canonical(bundle.folder, failure), real = fs::canonical(path, failure);
    if (failure) return name + " cannot be read";
    if (!lies_in(root_of(folder), real)) return name + " is a link that leaves the bundle";
    if (!fs::is_regular_file(real, failure)) return name + " is not a file";
    const auto bytes = fs::file_size(real, failure);
    if (failure) return name + " cannot be read";
    if (bytes != wanted.bytes)
        return name + " has " + std::to_string(bytes) + " bytes, the manifest says " + std::to_string(wanted.bytes);
    if (content && sha256_of(real) != wanted.sha256) return "the sha256 of " + name + " is not the manifest's";
    return "";
}

std::optional<int> major_version(const Json& file) {
    const Json* version = file.is_object() ? value_of(file, "schema_version") : nullptr;
    const std::string text = version != nullptr && version->is_string() ? version->get<std::string>() : "";
    const std::size_t dot = text.find('.');
    if (dot == std::string::npos || !is_version_number(text.substr(0, dot)) || !is_version_number(text.substr(dot + 1)))
        return std::nullopt;
    return std::stoi(text.substr(0, dot));
}

}  // namespace trbert::internal
