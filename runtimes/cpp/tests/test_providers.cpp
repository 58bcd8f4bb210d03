// The providers of TensorRT with sessions on the CPU in place of theirs.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <set>
#include <thread>

#include "bundle/golden.hpp"
#include "bundle/reader.hpp"
#include "onnxruntime/pool.hpp"
#include "onnxruntime/providers.hpp"
#include "onnxruntime/sessions.hpp"
#include "pipeline.hpp"
#include "refusal.hpp"

using namespace trbert::internal;

namespace {

struct ProviderBench {
    ProviderBench()
        : bundle(open_bundle(std::getenv("TRBERT_TEST_BUNDLE"), false)), pipeline(bundle, trbert::Mode::staged) {
        const trbert::Options options = chosen();
        pool = Pool::of_process(options);
        runner = std::make_unique<ProviderRunner>(bundle, pipeline.graphs(), options,
                                                  [this](const GraphFile& graph, const Settings& settings) {
                                                      started.insert(settings.at("trt_engine_cache_path"));
                                                      shapes.insert(graph.file + settings.at("trt_profile_max_shapes"));
                                                      ++starts;
                                                      return load_session(*pool, bundle, graph, session_options(*pool));
                                                  });
    }
    ~ProviderBench() { std::filesystem::remove_all(folder()); }

    static std::filesystem::path folder() { return std::filesystem::temp_directory_path() / "trbert-test-providers"; }
    static trbert::Options chosen() {
        trbert::Options options;
        options.provider = "tensorrt";
        options.device = "cpu";
        options.engines = folder().string();
        options.threads = 2;
        return options;
    }

    trbert::Output run(const trbert::Inputs& inputs) {
        return pipeline.run(*runner, Request(bundle.task, inputs), true);
    }
    trbert::Verification verify() {
        return replay(bundle, [&](const trbert::Inputs& inputs) { return run(inputs); });
    }

    Bundle bundle;
    Pipeline pipeline;
    std::shared_ptr<Pool> pool;
    std::unique_ptr<ProviderRunner> runner;
    std::set<std::string> started, shapes;
    std::atomic<std::size_t> starts{0};
};

}  // namespace

TEST_CASE("a bucket is a session, with an engine cache of its own") {
    ProviderBench bench;
    CHECK(bench.starts == 0);
    CHECK(bench.verify().passed());
    const std::size_t starts = bench.starts;
    CHECK(starts >= bench.pipeline.graphs().size());
    CHECK(bench.started.size() == starts);
    CHECK(bench.shapes.size() == starts);
    for (const std::string& cache : bench.started) CHECK(std::filesystem::is_directory(cache));
    CHECK(bench.verify().passed());
    CHECK(bench.starts == starts);
}

TEST_CASE("larger batches than a session holds are split, and answered as without the provider") {
    ProviderBench bench;
    trbert::Inputs inputs;
    for (std::int64_t token = 0; token < 70 * 12; ++token)
        inputs["input_ids"].data.push_back(token * 7919 % (*bench.bundle.task.inputs.front().maximum + 1));
    inputs["input_ids"].shape = {70, 12};
    trbert::Options plain;
    plain.threads = 2;
    const trbert::Output wanted = trbert::Engine(bench.bundle.folder.string(), plain).run(inputs, true);
    const trbert::Output given = bench.run(inputs);
    CHECK(given.kept == wanted.kept);
    for (std::size_t place = 0; place < wanted.at("logits").data.size(); ++place)
        CHECK(given.at("logits").data[place] == doctest::Approx(wanted.at("logits").data[place]).epsilon(1e-5));
    CHECK(given.group_sizes[0].size() >= 3);
    for (const auto& stage : given.group_sizes)
        for (const std::size_t rows : stage) CHECK(rows <= 32);
}

TEST_CASE("several callers share the sessions") {
    ProviderBench bench;
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 6; ++thread) {
        threads.emplace_back([&] {
            if (!bench.verify().passed()) ++wrong;
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(bench.started.size() == bench.starts);
}

TEST_CASE("a cache that cannot be written is an error") {
    trbert::Options options = ProviderBench::chosen();
    options.engines = "/proc/nothing";
    ProviderBench bench;
    ProviderRunner runner(bench.bundle, bench.pipeline.graphs(), options,
                          [](const GraphFile&, const Settings&) -> Ort::Session { throw std::logic_error("started"); });
    const Request request(bench.bundle.task, {{"input_ids", {{1, 3}, {2, 5, 3}}}});
    CHECK_THROWS_WITH_AS(bench.pipeline.run(runner, request, false), doctest::Contains("/proc/nothing"), trbert::Error);
}

TEST_CASE("options that do not go together, and what is not there, are refused") {
    using trbert::ErrorCode;
    trbert::Options options;
    options.threads = 2;
    options.runtime = "torch";
    CHECK(refusal_of(options) == ErrorCode::configuration);
    options.runtime = "ort";
    options.provider = "openvino";
    CHECK(refusal_of(options) == ErrorCode::configuration);
    options.provider = "tensorrt";
    options.device = "cpu";
    CHECK(refusal_of(options) == ErrorCode::device);
    options.device = "";
    options.provider_library = "plugin.so";
    CHECK(refusal_of(options) == ErrorCode::configuration);
    options.provider_library = "";
    options.mode = trbert::Mode::fused;
    CHECK(refusal_of(options) == ErrorCode::configuration);  // in policy mode
    options.mode = trbert::Mode::staged;
    options.runtime = "trt";
    CHECK(refusal_of(options) == ErrorCode::configuration);
    options.runtime = "ort";
    for (const auto& [provider, name] :
         {std::pair("tensorrt", "TensorrtExecutionProvider"), std::pair("rtx", "NvTensorRTRTXExecutionProvider")}) {
        options.provider = provider;
        if (!has_provider(name)) CHECK(refusal_of(options) == ErrorCode::device);
    }
}
