// The engines of a folder as the runtime "trt" would take them on some machine: which of them run there, which are
// chosen, and what a runtime of their shapes answers to the bundle's golden vectors, with ONNX Runtime doing the
// engines' work in memory. For the tests that compare it with the Python runtime.
#include <iostream>

#include "golden.hpp"
#include "graphs.hpp"
#include "host_device.hpp"
#include "json.hpp"
#include "plans/runtime.hpp"
#include "plans/store.hpp"

using namespace trbert::internal;

namespace {

bool same(const Axes& one, const Axes& other) {
    return std::equal(one.begin(), one.end(), other.begin(), other.end(), [](const Axis& left, const Axis& right) {
        return left.name == right.name && (!left.name.empty() || left.size == right.size);
    });
}

trbert::Verification verify(const Bundle& bundle, trbert::Mode mode, const std::vector<std::filesystem::path>& chosen) {
    Pipeline pipeline(bundle, mode);
    trbert::Options options;
    options.threads = 1;
    const std::shared_ptr<Pool> pool = Pool::of_process(options);
    auto device = std::make_unique<HostDevice>();
    Engines engines;
    Grid grid;
    for (std::size_t stage = 0; stage < chosen.size(); ++stage) {
        const auto [header, plan] = read_engine(chosen[stage]);
        const Graph& graph = pipeline.graphs()[stage];
        if (header.graph != graph.file) throw std::logic_error("the engine is of another graph");
        for (const auto& [name, axes] : input_axes(*pool, bundle, graph)) {
            const auto given = header.inputs.find(name);
            if (given != header.inputs.end() && !same(given->second, axes)) throw std::logic_error("other axes");
        }
        grid = header.grid;
        engines.push_back(std::make_unique<HostEngine>(*pool, bundle, graph, header.profiles, *device));
    }
    const PlanRuntime runtime(std::move(pipeline), std::move(device), std::move(engines), grid);
    return replay(bundle.folder / bundle.golden, [&](const trbert::Inputs& inputs) {
        return runtime.answer(Request(*bundle.task, bundle.limits, inputs), true);
    });
}

}  // namespace

int main(int count, char** words) {
    if (count != 8) return 2;  // BUNDLE ENGINES MODE FLAVOR VERSION CAPABILITY DRIVER
    try {
        const Bundle bundle = open_bundle(words[1], false);
        const std::string name = words[3];
        const trbert::Mode mode = name == "staged"  ? trbert::Mode::staged
                                  : name == "fused" ? trbert::Mode::fused
                                                    : trbert::Mode::dense;
        const Here here{words[4], words[5], {words[6], words[7]}};
        Json report{{"invalid", Json::object()}, {"chosen", Json::array()}};
        for (const auto& path : engine_files(words[2])) {
            try {
                report["invalid"][path.filename().string()] = invalid_because(read_header(path), bundle, here);
            } catch (const trbert::Error& failure) {
                report["invalid"][path.filename().string()] = failure.what();
            }
        }
        try {
            require_for_tensorrt(bundle, mode);
            const auto chosen = select_engines(words[2], bundle, graphs_of(bundle, mode), here);
            for (const auto& path : chosen) report["chosen"].push_back(path.filename().string());
            if (mode != trbert::Mode::dense) report["complaints"] = verify(bundle, mode, chosen).complaints;
        } catch (const trbert::Error& failure) {
            report["error"] = failure.what();
        }
        std::cout << report << '\n';
    } catch (const std::exception& failure) {
        std::cerr << failure.what() << '\n';
        return 1;
    }
}
