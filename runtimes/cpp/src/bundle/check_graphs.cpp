#include "bundle/check_graphs.hpp"

#include <set>

#include "bundle/read_specs.hpp"
#include "core/errors.hpp"

namespace trbert::internal {
namespace {

using Names = std::vector<std::string>;

bool is_known(const std::string& dtype) {
    static const std::set<std::string> known{"bool", "float16", "float32", "float64",
                                             "int8", "int32",   "int64",   "uint8"};
    return known.count(dtype) > 0;
}

// Names once, types that there are.
void check_tensors(const GraphFile& graph) {
    for (const std::vector<TensorSpec>* tensors : {&graph.inputs, &graph.outputs}) {
        std::set<std::string> names;
        for (const TensorSpec& tensor : *tensors) {
            require(names.insert(tensor.name).second, graph.file + " has two tensors of the name " + tensor.name);
            require(is_known(tensor.dtype), graph.file + " has tensors of the unknown type " + tensor.dtype);
        }
    }
}

// alone: whether it gives no others.
void require_outputs(const GraphFile& graph, const Names& wanted, bool alone) {
    for (const std::string& name : wanted) require(has(graph.outputs, name), graph.file + " gives no " + name);
    require(!alone || graph.outputs.size() == wanted.size(), graph.file + " gives more than the task's outputs");
}

// The caller's input that a graph takes, or nullptr; as the task says it is.
const InputSpec* callers(const Bundle& bundle, const GraphFile& graph, const TensorSpec& tensor) {
    const InputSpec* spec = bundle.task.input(tensor.name);
    require(spec == nullptr || tensor.axes == spec->axes, graph.file + " takes " + tensor.name + " with other axes");
    return spec;
}

// A graph that takes the caller's inputs alone.
void check_whole(const Bundle& bundle, const GraphFile& graph, const Names& outputs, bool alone) {
    check_tensors(graph);
    for (const TensorSpec& tensor : graph.inputs) {
        require(callers(bundle, graph, tensor) != nullptr,
                graph.file + " takes " + tensor.name + ", which nothing gives");
        require(tensor.dtype == "int64", graph.file + " takes " + tensor.name + " as " + tensor.dtype);
    }
    require_outputs(graph, outputs, alone);
}

void check_stage(const Bundle& bundle, std::size_t index, const Names& outputs) {
    const GraphFile& graph = bundle.stages[index];
    const bool first = index == 0, last = index == bundle.reductions();
    check_tensors(graph);
    for (const TensorSpec& tensor : graph.inputs) {
        const std::string& name = tensor.name;
        if (!first && has(bundle.stages[index - 1].outputs, kNext + name)) continue;
        const bool told =
            (!first && (name == kRows || name == kKeep)) || (!last && name == kBudget && bundle.reduction.by_budget());
        require(!told || tensor.axes.size() == 1, graph.file + " takes " + name + " with other axes");
        require(told || callers(bundle, graph, tensor) != nullptr,
                graph.file + " takes " + name + ", which nothing gives");
        require(tensor.dtype == "int64", graph.file + " takes " + name + " as " + tensor.dtype);
    }
    require_outputs(graph, last ? outputs : Names{kKeepCount, kKeepMask}, last);
}

}  // namespace

std::string fused_keep_mask(std::size_t reduction) { return "keep_mask_" + std::to_string(reduction + 1); }

std::vector<GraphFile> graphs_of(const Bundle& bundle, Mode mode) {
    if (mode == Mode::staged) return bundle.stages;
    if (mode == Mode::fused) return {bundle.fused};
    if (!bundle.dense) {
        throw bundle_error("the bundle " + bundle.folder.string() + " has no dense graph",
                           "export it again with --with-dense");
    }
    return {*bundle.dense};
}

void check_graphs(const Bundle& bundle) {
    Names outputs;
    for (const OutputSpec& output : bundle.task.outputs) outputs.push_back(output.name);
    for (std::size_t index = 0; index < bundle.stages.size(); ++index) check_stage(bundle, index, outputs);
    if (bundle.dense) check_whole(bundle, *bundle.dense, outputs, true);
    for (std::size_t reduction = 0; reduction < bundle.reductions(); ++reduction)
        outputs.push_back(fused_keep_mask(reduction));
    check_whole(bundle, bundle.fused, outputs, false);
}

}  // namespace trbert::internal
