#include "bundle/reader.hpp"

#include <algorithm>

#include "bundle/schema_1.hpp"
#include "core/errors.hpp"
#include "core/sha256.hpp"

namespace trbert::internal {
namespace {

namespace fs = std::filesystem;

constexpr int kOldestMajor = 1, kNewestMajor = 2;

bool is_version_number(const std::string& text) {
    return !text.empty() && text.size() <= 6 && text.find_first_not_of("0123456789") == std::string::npos;
}

// The schema's major version, which this library reads.
int major_version(const Json& manifest, const fs::path& path) {
    const auto version = manifest.is_object() ? manifest.find("schema_version") : manifest.end();
    const std::string text = version != manifest.end() && version->is_string() ? version->get<std::string>() : "";
    const std::size_t dot = std::min(text.find('.'), text.size());
    const std::string major = text.substr(0, dot);
    if (dot == text.size() || !is_version_number(major) || !is_version_number(text.substr(dot + 1)))
        throw bundle_error(path.string() + " has no schema_version");
    const int number = std::stoi(major);
    if (number < kOldestMajor || number > kNewestMajor) {
        throw error(ErrorCode::bundle,
                    path.string() + " is of schema version " + text + ", this library reads " +
                        std::to_string(kOldestMajor) + ".x to " + std::to_string(kNewestMajor) + ".x",
                    number > kNewestMajor ? "upgrade the trbert library" : "export the bundle again");
    }
    return number;
}

// What is wrong with a file, or "".
std::string damage(const Bundle& bundle, const std::string& name, bool check_sha256) {
    const fs::path path = bundle.folder / fs::u8path(name);
    const FileFacts& wanted = bundle.files.at(name);
    std::error_code failure;
    if (!fs::is_regular_file(path, failure)) return name + " is missing";
    const auto bytes = fs::file_size(path, failure);
    if (failure) return name + " cannot be read";
    if (bytes != wanted.bytes) {
        return name + " has " + std::to_string(bytes) + " bytes, the manifest says " + std::to_string(wanted.bytes);
    }
    if (check_sha256 && sha256_of(path) != wanted.sha256) return "the sha256 of " + name + " is not the manifest's";
    return "";
}

}  // namespace

Bundle open_bundle(const fs::path& folder, bool check_sha256) {
    const fs::path path = folder / "manifest.json";
    std::error_code failure;
    if (!fs::is_regular_file(path, failure)) {
        const bool there = fs::is_directory(folder, failure);
        throw bundle_error(
            folder.string() + " is not a bundle: it " + (there ? "has no manifest.json" : "does not exist"),
            "make one: trbert-deploy export MODEL --out DIR");
    }
    const Json manifest = read_json_file(path);
    const int major = major_version(manifest, path);
    Bundle bundle;
    try {
        bundle = read_manifest(major == 1 ? from_schema_1(manifest) : manifest);
    } catch (const std::exception& problem) {  // of JSON types, and ours
        throw bundle_error(path.string() + " does not follow the schema: " + problem.what());
    }
    bundle.folder = folder;
    for (const auto& entry : bundle.files) {
        const fs::path name = fs::u8path(entry.first);
        if (name.is_absolute() || std::find(name.begin(), name.end(), "..") != name.end())
            throw bundle_error(path.string() + " names a file outside the bundle: " + entry.first, "");
        const std::string what = damage(bundle, entry.first, check_sha256);
        if (!what.empty()) throw bundle_error("the bundle " + folder.string() + " is damaged: " + what);
    }
    return bundle;
}

}  // namespace trbert::internal
