// What a bundle is: manifest.json of trbert_deploy/bundle/manifest.py, as far as running it goes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/specs.hpp"

namespace trbert::internal {

// A tensor that one stage hands to the next leaves it under this prefix and enters the next one without it.
inline const std::string kNext = "next_";

// One ONNX file.
struct GraphFile {
    std::string file;
    std::vector<TensorSpec> inputs, outputs;
};

// Whether one of the tensors has that name.
bool has(const std::vector<TensorSpec>& tensors, const std::string& name);

struct TokenizerFacts {
    std::string folder;
    std::int64_t max_length;  // text is cut to so many tokens
};

struct FileFacts {
    std::string sha256;
    std::uint64_t bytes;
};

// An open bundle: its folder and its valid manifest.
struct Bundle {
    std::filesystem::path folder;
    TaskSpec task;
    std::vector<std::string> labels;  // names of the classes by index; may be empty
    ReductionSpec reduction;
    std::vector<GraphFile> stages;  // one more than reductions
    GraphFile fused;
    std::optional<GraphFile> dense;
    std::string precision;  // "fp32", "fp16" or "int8"
    std::string int8_form;  // of int8 graphs: "cpu" or "tensorrt"
    std::optional<TokenizerFacts> tokenizer;
    std::string golden;
    std::map<std::string, FileFacts> files;

    std::size_t reductions() const { return reduction.layers.size(); }
};

// Read a manifest of schema 2.x. Throws std::invalid_argument or nlohmann::json::exception where it does not follow it,
// or does not agree with itself.
Bundle read_manifest(const Json& manifest);

}  // namespace trbert::internal
