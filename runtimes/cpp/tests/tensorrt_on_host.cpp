// The TensorRT engines of a folder as the runtime "trt" would take them on some machine: which of them run there, which
// are chosen, and what a runtime of their shapes answers to the bundle's golden vectors, with ONNX Runtime doing their
// work in memory. For the tests that compare it with the Python runtime.
#include <iostream>

#include "bundle/check_graphs.hpp"
#include "bundle/golden.hpp"
#include "bundle/reader.hpp"
#include "host_device.hpp"
#include "tensorrt/engine_cache.hpp"
#include "tensorrt/runtime.hpp"
#include "tensorrt_checks.hpp"

using namespace trbert::internal;

namespace {

trbert::Verification verify(const Bundle& bundle, trbert::Mode mode, const std::vector<std::filesystem::path>& chosen) {
    Pipeline pipeline(bundle, mode);
    trbert::Options options;
    options.threads = 1;
    const std::shared_ptr<Pool> pool = Pool::of_process(options);
    auto device = std::make_unique<HostDevice>();
    TensorRtEngines engines;
    ShapeBuckets shapes;
    for (std::size_t stage = 0; stage < chosen.size(); ++stage) {
        const auto [header, serialized] = read_engine_file(chosen[stage]);
        const GraphFile& graph = pipeline.graphs()[stage];
        if (header.graph != graph.file) throw std::logic_error("the TensorRT engine is of another graph");
        for (const TensorSpec& input : graph.inputs) {
            const auto given = header.inputs.find(input.name);
            if (given != header.inputs.end() && !(given->second == input.axes)) throw std::logic_error("other axes");
        }
        shapes = header.shapes;
        engines.push_back(std::make_unique<HostEngine>(*pool, bundle, graph, header.profiles, *device));
    }
    const TensorRtRuntime runtime(std::move(pipeline), std::move(device), std::move(engines), shapes);
    return replay(bundle,
                  [&](const trbert::Inputs& inputs) { return runtime.run(Request(bundle.task, inputs), true); });
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
                report["invalid"][path.filename().string()] = invalid_because(read_engine_header(path), bundle, here);
            } catch (const trbert::Error& failure) {
                report["invalid"][path.filename().string()] = failure.what();
            }
        }
        try {
            require_for_tensorrt(bundle, mode);
            const auto chosen = select_engine_files(words[2], bundle, graphs_of(bundle, mode), here);
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
