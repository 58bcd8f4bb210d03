#include "bundle/reader.hpp"

#include "bundle/files.hpp"
#include "bundle/schema_1.hpp"
#include "core/errors.hpp"

namespace trbert::internal {
namespace {

namespace fs = std::filesystem;

constexpr int kOldestMajor = 1, kNewestMajor = 2;

// A larger manifest is not read. Those that `export` writes have tens of thousands of bytes.
constexpr std::uintmax_t kMostManifestBytes = std::uintmax_t{16} << 20;

// The schema's major version, which this library reads.
int known_version(const Json& manifest, const fs::path& path) {
    const std::optional<int> major = major_version(manifest);
    if (!major) throw bundle_error(path.string() + " has no schema_version");
    if (*major < kOldestMajor || *major > kNewestMajor) {
        throw error(ErrorCode::bundle,
                    path.string() + " is of schema version " + manifest.at("schema_version").get<std::string>() +
                        ", this library reads " + std::to_string(kOldestMajor) + ".x to " +
                        std::to_string(kNewestMajor) + ".x",
                    *major > kNewestMajor ? "upgrade the trbert library" : "export the bundle again");
    }
    return *major;
}

}  // namespace

Bundle open_bundle(const fs::path& folder, bool check_sha256) {
    const fs::path path = folder / "manifest.json";
    std::error_code failure;
    if (!fs::exists(path, failure)) {
        const bool there = fs::is_directory(folder, failure);
        throw bundle_error(
            folder.string() + " is not a bundle: it " + (there ? "has no manifest.json" : "does not exist"),
            "make one: trbert-deploy export MODEL --out DIR");
    }
    const Json manifest = read_json_file(path, kMostManifestBytes);
    const int major = known_version(manifest, path);
    Bundle bundle;
    try {
        bundle = read_manifest(major == 1 ? from_schema_1(manifest) : manifest);
    } catch (const std::exception& problem) {  // of JSON types, and ours
        throw bundle_error(path.string() + " does not follow the schema: " + problem.what());
    }
    bundle.folder = folder;
    for (const auto& entry : bundle.files) {
        if (!is_inside(entry.first))
            throw bundle_error(path.string() + " names a file outside the bundle: " + entry.first);
        const std::string what = damage(bundle, entry.first, check_sha256);
        if (!what.empty()) throw bundle_error("the bundle " + folder.string() + " is damaged: " + what);
    }
    return bundle;
}

}  // namespace trbert::internal
