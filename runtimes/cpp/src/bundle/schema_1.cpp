#include "bundle/schema_1.hpp"

#include <stdexcept>

#include "bundle/manifest.hpp"
#include "core/request_checks.hpp"

namespace trbert::internal {
namespace {

const Json& table() {
    static const Json whole = parse_json(kSchema1Table);
    return whole;
}

bool over_tokens(const std::string& name) {
    return name == kInputIds || name == kAttentionMask || name == kTokenTypeIds;
}

Json token_input(const char* name, const Json& axes, std::int64_t maximum, const Json& otherwise) {
    return {{"name", name}, {"axes", axes}, {"maximum", maximum}, {"default", otherwise}};
}

// The token inputs follow from the limits; a single logit was never a choice.
Json task_of(const Json& task, const Json& manifest) {
    const Json &limits = manifest.at("limits"), &axes = task.at("row_axes");
    const std::int64_t token_types = integer(limits.at("token_types"));
    Json inputs = Json::array({token_input("input_ids", axes, integer(limits.at("vocab_size")) - 1, nullptr),
                               token_input("attention_mask", axes, 1, 1)});
    if (token_types != 0) inputs.push_back(token_input("token_type_ids", axes, token_types - 1, 0));
    for (const Json& own : task.at("inputs")) inputs.push_back(own);
    Json decoding = task.at("decoding");
    if (decoding.at("kind") == "classes" && manifest.at("model").at("labels").size() == 1)
        decoding["parameters"]["activation"] = "identity";
    Json made{{"name", manifest.at("task")},
              {"inputs", inputs},
              {"max_length", limits.at("max_length")},
              {"decoding", decoding}};
    for (const char* fact : {"outputs", "text", "sequences_axis", "protected_from"}) made[fact] = task.at(fact);
    return made;
}

// A tensor's spec, by its name.
Json tensor_of(const std::string& name, const Json& task, const Json& manifest) {
    if (over_tokens(name)) return {{"name", name}, {"axes", task.at("row_axes")}, {"dtype", "int64"}};
    for (const auto& [kind, dtype] : {std::pair("inputs", "int64"), std::pair("outputs", "float32")}) {
        for (const Json& one : task.at(kind))
            if (one.at("name") == name) return {{"name", name}, {"axes", one.at("axes")}, {"dtype", dtype}};
    }
    std::string plain = name.compare(0, kNext.size(), kNext) == 0 ? name.substr(kNext.size()) : name;
    if (plain == "hidden_states") {
        Json axes = task.at("row_axes");
        axes.at(0) = kBatchBefore;
        axes.push_back(manifest.at("model").at("hidden_size"));
        const bool half = manifest.at("precision") == "fp16";
        return {{"name", name}, {"axes", axes}, {"dtype", half ? "float16" : "float32"}};
    }
    const std::string mask = "keep_mask";
    if (plain.compare(0, mask.size(), mask) == 0) plain = mask;  // of the fused graph: keep_mask_1, ...
    return {{"name", name}, {"axes", table().at("tensors").at(plain)}, {"dtype", "int64"}};
}

Json graph_of(const Json& graph, const Json& task, const Json& manifest) {
    Json made{{"file", graph.at("file")}, {"inputs", Json::array()}, {"outputs", Json::array()}};
    for (const char* side : {"inputs", "outputs"})
        for (const Json& name : graph.at(side)) made[side].push_back(tensor_of(name, task, manifest));
    return made;
}

}  // namespace

Json from_schema_1(const Json& manifest) {
    const Json& name = manifest.at("task");
    const auto task = table().at("tasks").find(name.get<std::string>());
    if (task == table().at("tasks").end()) throw std::invalid_argument("task: unknown task " + name.dump());
    const Json& selection = manifest.at("selection");
    Json made = manifest;
    made["task"] = task_of(*task, manifest);
    made["reduction"] = {{"kind", "selector"},
                         {"layers", manifest.at("reduction_layers")},
                         {"mode", selection.at("mode")},
                         {"fractions", selection.at("keep")},
                         {"full_length", task->at("full_length")}};
    made["stages"] = Json::array();
    for (const Json& stage : manifest.at("stages")) made["stages"].push_back(graph_of(stage, *task, manifest));
    made["fused"] = graph_of(manifest.at("fused"), *task, manifest);
    const Json* dense = value_of(manifest, "dense");
    made["dense"] = dense == nullptr ? Json() : graph_of(*dense, *task, manifest);
    made["costs"] = {{"reduction_layers", manifest.at("reduction_layers")}};
    return made;
}

}  // namespace trbert::internal
