#include "manifest.hpp"

#include <algorithm>
#include <stdexcept>

#include "errors.hpp"
#include "graphs.hpp"
#include "json.hpp"
#include "sha256.hpp"

namespace trbert::internal {
namespace {

namespace fs = std::filesystem;

constexpr int kSchemaMajor = 1;

void require(bool condition, const std::string& what) {
    if (!condition) throw std::invalid_argument(what);
}

std::int64_t at_least(std::int64_t least, const Json& object, const char* name) {
    const std::int64_t value = integer(object.at(name));
    require(value >= least, std::string(name) + " must be at least " + std::to_string(least));
    return value;
}

Graph read_graph(const Json& part) { return {part.at("file"), part.at("inputs"), part.at("outputs")}; }

void check_version(const Json& manifest, const fs::path& path) {
    const auto version = manifest.is_object() ? manifest.find("schema_version") : manifest.end();
    const std::string text = version != manifest.end() && version->is_string() ? version->get<std::string>() : "";
    const std::string major = text.substr(0, text.find('.'));
    if (major.empty() || major.size() > 6 || major.find_first_not_of("0123456789") != std::string::npos) {
        throw bundle_error(path.string() + " has no schema_version");
    }
    if (std::stoi(major) != kSchemaMajor) {
        throw error(ErrorCode::bundle,
                    path.string() + " is of schema version " + text + ", this library reads " +
                        std::to_string(kSchemaMajor) + ".x",
                    std::stoi(major) > kSchemaMajor ? "upgrade the trbert library" : "export the bundle again");
    }
}

Bundle read_manifest(const Json& manifest, const fs::path& folder) {
    Bundle bundle;
    bundle.folder = folder;
    bundle.task = task_named(manifest.at("task"));
    require(bundle.task != nullptr, "unknown task " + manifest.at("task").dump());
    manifest.at("model").at("labels").get_to(bundle.labels);
    bundle.reductions = manifest.at("reduction_layers").get<std::vector<std::int64_t>>().size();
    const Json& selection = manifest.at("selection");
    selection.at("keep").get_to(bundle.keep);
    const bool by_budget = selection.at("mode") == "budget";
    require(by_budget || selection.at("mode") == "policy", "unknown selection mode");
    require(bundle.keep.size() == (by_budget ? bundle.reductions : 0), "the keep fractions do not fit the reductions");
    for (const double fraction : bundle.keep)
        require(fraction > 0 && fraction <= 1, "a keep fraction is outside (0, 1]");
    const Json& limits = manifest.at("limits");
    bundle.limits = {at_least(1, limits, "max_length"), at_least(1, limits, "vocab_size"),
                     at_least(0, limits, "token_types")};
    for (const Json& stage : manifest.at("stages")) bundle.stages.push_back(read_graph(stage));
    require(bundle.stages.size() == bundle.reductions + 1, "the stages do not fit the reductions");
    bundle.fused = read_graph(manifest.at("fused"));
    if (const Json& dense = manifest.at("dense"); !dense.is_null()) bundle.dense = read_graph(dense);
    if (const auto facts = manifest.find("quantization"); facts != manifest.end() && !facts->is_null()) {
        facts->at("form").get_to(bundle.int8_form);
    }
    if (const Json& facts = manifest.at("tokenizer"); !facts.is_null()) {
        bundle.tokenizer = {facts.at("folder"), at_least(1, facts, "max_length")};
    }
    manifest.at("golden").get_to(bundle.golden);
    for (const auto& [name, facts] : manifest.at("files").items()) {
        bundle.files[name] = {facts.at("sha256"), static_cast<std::uint64_t>(at_least(0, facts, "bytes"))};
    }
    return bundle;
}

// Everything that the manifest refers to is one of the files that it vouches for.
void check_references(const Bundle& bundle) {
    std::vector<std::string> names{bundle.golden, bundle.fused.file};
    for (const Graph& stage : bundle.stages) names.push_back(stage.file);
    if (bundle.dense) names.push_back(bundle.dense->file);
    if (bundle.tokenizer) names.push_back(bundle.tokenizer->folder + "/tokenizer.json");
    for (const std::string& name : names) {
        require(bundle.files.count(name) > 0, "it refers to " + name + ", which is not among its files");
    }
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
    check_version(manifest, path);
    Bundle bundle;
    try {
        bundle = read_manifest(manifest, folder);
        check_references(bundle);
        check_graphs(bundle);
    } catch (const std::exception& problem) {  // of JSON types, and ours
        throw bundle_error(path.string() + " does not follow the schema: " + problem.what());
    }
    for (const auto& entry : bundle.files) {
        const fs::path name = fs::u8path(entry.first);
        if (name.is_absolute() || std::find(name.begin(), name.end(), "..") != name.end()) {
            throw bundle_error(path.string() + " names a file outside the bundle: " + entry.first, "");
        }
        const std::string what = damage(bundle, entry.first, check_sha256);
        if (!what.empty()) throw bundle_error("the bundle " + folder.string() + " is damaged: " + what);
    }
    return bundle;
}

}  // namespace trbert::internal
