#include "bundle/manifest.hpp"

#include <algorithm>

#include "bundle/check_graphs.hpp"
#include "bundle/check_task.hpp"
#include "bundle/read_specs.hpp"

namespace trbert::internal {
namespace {

GraphFile read_graph(const Json& part) {
    GraphFile graph{part.at("file"), {}, {}};
    for (const Json& input : part.at("inputs")) graph.inputs.push_back(read_tensor(input));
    for (const Json& output : part.at("outputs")) graph.outputs.push_back(read_tensor(output));
    return graph;
}

std::string read_sha256(const Json& value) {
    const std::string text = value.get<std::string>();
    require(text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos,
            "a sha256 is not 64 hexadecimal digits");
    return text;
}

std::string read_precision(const Json& manifest) {
    const std::string precision = manifest.at("precision");
    require(precision == "fp32" || precision == "fp16" || precision == "int8", "unknown precision " + precision);
    return precision;
}

// int8 bundles say how they were quantized, and those only.
std::string read_int8_form(const Json& manifest, const std::string& precision) {
    const Json* facts = value_of(manifest, "quantization");
    require((precision == "int8") == (facts != nullptr), "quantization is said of int8 bundles, and of those only");
    if (facts == nullptr) return "";
    const std::string form = facts->at("form");
    require(form == "cpu" || form == "tensorrt", "unknown form of int8 " + form);
    return form;
}

// The reductions fit the stages, the layers and what the costs are counted by.
void check_reduction(const Bundle& bundle, const Json& manifest) {
    const auto& layers = bundle.reduction.layers;
    require(bundle.stages.size() == bundle.reductions() + 1, "the stages do not fit the reductions");
    const std::int64_t count = at_least(1, manifest.at("model"), "num_layers");
    std::int64_t least = 0;
    for (const std::int64_t layer : layers) {
        require(least <= layer && layer < count, "the layers of the reduction must ascend and be the model's");
        least = layer + 1;
    }
    const Json* charged = value_of(manifest.at("costs"), "reduction_layers");
    require(Json(layers) == (charged != nullptr ? *charged : Json::array()),
            "the reduction_layers of the costs are not the reduction's");
}

// Everything that the manifest refers to is one of the files that it vouches for.
void check_references(const Bundle& bundle, const Json& manifest) {
    std::vector<std::string> names{bundle.golden, bundle.fused.file};
    for (const GraphFile& stage : bundle.stages) names.push_back(stage.file);
    if (bundle.dense) names.push_back(bundle.dense->file);
    if (!bundle.int8_form.empty()) names.push_back(manifest.at("quantization").at("sensitivity"));
    if (const Json& folder = manifest.at("reference"); !folder.is_null())
        names.push_back(folder.get<std::string>() + "/config.json");
    if (const Json& facts = manifest.at("tokenizer"); !facts.is_null()) {
        names.push_back(bundle.tokenizer->folder + "/tokenizer.json");
        if (const Json* graph = value_of(facts, "onnx")) names.push_back(graph->get<std::string>());
    }
    for (const std::string& name : names)
        require(bundle.files.count(name) > 0, "it refers to " + name + ", which is not among its files");
}

}  // namespace

bool has(const std::vector<TensorSpec>& tensors, const std::string& name) {
    return std::any_of(tensors.begin(), tensors.end(), [&](const TensorSpec& tensor) { return tensor.name == name; });
}

Bundle read_manifest(const Json& manifest) {
    Bundle bundle;
    bundle.task = read_task(manifest.at("task"));
    manifest.at("model").at("labels").get_to(bundle.labels);
    bundle.reduction = read_reduction(manifest.at("reduction"));
    for (const Json& stage : manifest.at("stages")) bundle.stages.push_back(read_graph(stage));
    check_reduction(bundle, manifest);
    bundle.fused = read_graph(manifest.at("fused"));
    if (const Json& dense = manifest.at("dense"); !dense.is_null()) bundle.dense = read_graph(dense);
    bundle.precision = read_precision(manifest);
    bundle.int8_form = read_int8_form(manifest, bundle.precision);
    if (const Json& facts = manifest.at("tokenizer"); !facts.is_null())
        bundle.tokenizer = {facts.at("folder"), at_least(1, facts, "max_length")};
    manifest.at("golden").get_to(bundle.golden);
    for (const auto& [name, facts] : manifest.at("files").items()) {
        bundle.files[name] = {read_sha256(facts.at("sha256")), static_cast<std::uint64_t>(at_least(0, facts, "bytes"))};
    }
    check_task(bundle.task);
    check_graphs(bundle);
    check_references(bundle, manifest);
    return bundle;
}

}  // namespace trbert::internal
