// manifest.json: what a bundle is. The same rules as trbert_deploy/bundle/manifest.py and reader.py.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tasks.hpp"

namespace trbert::internal {

// A tensor that one stage hands to the next leaves it under this prefix and enters the next one without it.
inline const std::string kNext = "next_";

struct Limits {
    std::int64_t max_length;   // tokens in a row
    std::int64_t vocab_size;   // token ids are below it
    std::int64_t token_types;  // token type ids are below it; 0 where the model takes none (DistilBERT)
};

// One ONNX file.
struct Graph {
    std::string file;
    std::vector<std::string> inputs, outputs;
};

struct TokenizerFacts {
    std::string folder;
    std::int64_t max_length;
};

struct FileFacts {
    std::string sha256;
    std::uint64_t bytes;
};

// An open bundle: its folder and its valid manifest.
struct Bundle {
    std::filesystem::path folder;
    const Task* task;
    std::vector<std::string> labels;
    std::size_t reductions;
    std::vector<double> keep;  // budget mode: fraction of the original length kept at each reduction
    Limits limits;
    std::vector<Graph> stages;
    Graph fused;
    std::optional<Graph> dense;
    std::string int8_form;  // of int8 graphs: "cpu" or "tensorrt"
    std::optional<TokenizerFacts> tokenizer;
    std::string golden;
    std::map<std::string, FileFacts> files;
};

// Open a bundle: the manifest is valid and every file there in its full size; with `check_sha256` every byte is read
// and compared. Throws Error (bundle).
Bundle open_bundle(const std::filesystem::path& folder, bool check_sha256);

}  // namespace trbert::internal
