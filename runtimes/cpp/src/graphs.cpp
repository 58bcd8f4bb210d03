#include "graphs.hpp"

#include <algorithm>
#include <stdexcept>

#include "errors.hpp"

namespace trbert::internal {
namespace {

bool of_request(const Bundle& bundle, const std::string& name) {
    if (name == "token_type_ids") return bundle.limits.token_types > 0;
    return is_token_input(name) || contains(bundle.task->inputs, name);
}

void require_outputs(const Graph& graph, const std::vector<std::string>& wanted) {
    for (const std::string& name : wanted) {
        if (!contains(graph.outputs, name)) throw std::invalid_argument(graph.file + " does not give " + name);
    }
}

void refuse_input(const Graph& graph, const std::string& name) {
    throw std::invalid_argument(graph.file + " takes " + name + ", which nothing gives");
}

// A graph that takes the caller's inputs alone.
void check_whole(const Bundle& bundle, const Graph& graph, const std::vector<std::string>& outputs) {
    for (const std::string& name : graph.inputs) {
        if (!of_request(bundle, name)) refuse_input(graph, name);
    }
    require_outputs(graph, outputs);
}

void check_stage(const Bundle& bundle, std::size_t index, const std::vector<std::string>& outputs) {
    const Graph& graph = bundle.stages[index];
    const bool first = index == 0, last = index == bundle.reductions;
    for (const std::string& name : graph.inputs) {
        const bool told =
            (!first && (name == kRows || name == kKeep)) || (!last && name == kBudget && !bundle.keep.empty());
        const bool carried = !first && contains(bundle.stages[index - 1].outputs, kNext + name);
        if (!told && !carried && !of_request(bundle, name)) refuse_input(graph, name);
    }
    require_outputs(graph, last ? outputs : std::vector<std::string>{kKeepCount, kKeepMask});
}

}  // namespace

bool contains(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_token_input(const std::string& name) {
    return name == "input_ids" || name == "attention_mask" || name == "token_type_ids";
}

std::string fused_keep_mask(std::size_t reduction) { return "keep_mask_" + std::to_string(reduction + 1); }

std::vector<Graph> graphs_of(const Bundle& bundle, Mode mode) {
    if (mode == Mode::staged) return bundle.stages;
    if (mode == Mode::fused) return {bundle.fused};
    if (!bundle.dense) {
        throw bundle_error("the bundle " + bundle.folder.string() + " has no dense graph",
                           "export it again with --with-dense");
    }
    return {*bundle.dense};
}

void require_for_tensorrt(const Bundle& bundle, Mode mode) {
    if (!bundle.int8_form.empty() && bundle.int8_form != "tensorrt") {
        throw bundle_error("the int8 graphs of " + bundle.folder.string() +
                               " have the form for CPUs, with zero points that TensorRT refuses",
                           "export it again: --precision int8 --int8-form tensorrt");
    }
    const bool by_data = bundle.keep.empty() || bundle.task->multiple_choice;  // how many tokens go on
    if (mode == Mode::fused && bundle.reductions > 0 && by_data) {
        throw error(
            ErrorCode::configuration,
            bundle.fused.file + " is no graph for TensorRT: the number of tokens that go on in it depends on the data",
            "the stages are made for that: use mode staged");
    }
}

void check_graphs(const Bundle& bundle) {
    std::vector<std::string> outputs;
    for (const TaskOutput& output : bundle.task->outputs) outputs.push_back(output.name);
    for (std::size_t index = 0; index < bundle.stages.size(); ++index) check_stage(bundle, index, outputs);
    if (bundle.dense) check_whole(bundle, *bundle.dense, outputs);
    for (std::size_t reduction = 0; reduction < bundle.reductions; ++reduction) {
        outputs.push_back(fused_keep_mask(reduction));
    }
    check_whole(bundle, bundle.fused, outputs);
}

}  // namespace trbert::internal
