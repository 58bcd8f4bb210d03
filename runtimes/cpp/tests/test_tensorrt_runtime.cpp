// The runtime of TensorRT engines, on a device in memory; ONNX Runtime does their work.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "bundle/golden.hpp"
#include "bundle/reader.hpp"
#include "host_device.hpp"
#include "tensorrt/runtime.hpp"

using namespace trbert::internal;

namespace {

trbert::Options two_threads() {
    trbert::Options options;
    options.threads = 2;
    return options;
}

std::vector<Profile> profiles_of(const Bundle& bundle, const ShapeBuckets& shapes, std::size_t stage) {
    return stage_profiles(shapes, stage, bundle.reduction.full_length, own_axes(bundle.task));
}

struct Bench {
    Bench(const std::string& folder, trbert::Mode mode, const ShapeBuckets& shapes)
        : bundle(open_bundle(folder, false)), pool(Pool::of_process(two_threads())) {
        Pipeline pipeline(bundle, mode);
        auto made = std::make_unique<HostDevice>();
        device = made.get();
        TensorRtEngines engines;
        for (std::size_t stage = 0; stage < pipeline.graphs().size(); ++stage) {
            engines.push_back(std::make_unique<HostEngine>(*pool, bundle, pipeline.graphs()[stage],
                                                           profiles_of(bundle, shapes, stage), *made));
        }
        runtime = std::make_unique<TensorRtRuntime>(std::move(pipeline), std::move(made), std::move(engines), shapes);
    }

    trbert::Output run(const trbert::Inputs& inputs, bool want_kept = true) const {
        return runtime->run(Request(bundle.task, inputs), want_kept);
    }
    trbert::Verification verify() const {
        return replay(bundle, [&](const trbert::Inputs& inputs) { return run(inputs); });
    }

    Bundle bundle;
    std::shared_ptr<Pool> pool;
    HostDevice* device;
    std::unique_ptr<TensorRtRuntime> runtime;
};

std::string bundle_folder() { return std::getenv("TRBERT_TEST_BUNDLE"); }

// Buckets for all that the bundle takes, one of them as wide as a row can be.
ShapeBuckets buckets(std::int64_t rows = 8) {
    const Bundle bundle = open_bundle(bundle_folder(), false);
    const std::int64_t most = bundle.task.max_length;
    return {{8, 16, most}, std::vector<Buckets>(bundle.reductions(), {4, 12, most}), rows, 4};
}

trbert::Inputs rows_of(const Bundle& bundle, std::int64_t rows, std::int64_t width) {
    trbert::Inputs inputs;
    for (std::int64_t token = 0; token < rows * width; ++token) {
        inputs["input_ids"].data.push_back(token * 7919 % (*bundle.task.inputs.front().maximum + 1));
        inputs["attention_mask"].data.push_back(token % width <= token / width % width ? 1 : 0);
    }
    inputs["input_ids"].shape = inputs["attention_mask"].shape = {rows, width};
    return inputs;
}

}  // namespace

TEST_CASE("TensorRT engines prove themselves, staged and dense") {
    const Bench staged(bundle_folder(), trbert::Mode::staged, buckets());
    for (int round = 0; round < 2; ++round) {
        const trbert::Verification verification = staged.verify();
        CHECK(verification.rows > 4);
        CHECK(verification.complaints == std::vector<std::string>());
    }
    const Bench one_row(bundle_folder(), trbert::Mode::staged, buckets(1));
    CHECK(one_row.verify().passed());
    const Bench dense(bundle_folder(), trbert::Mode::dense, buckets());
    trbert::Options options = two_threads();
    options.mode = trbert::Mode::dense;
    const trbert::Inputs inputs = rows_of(dense.bundle, 11, 13);
    const auto wanted = trbert::Engine(bundle_folder(), options).run(inputs).at("logits").data;
    const auto given = dense.run(inputs, false).at("logits").data;
    REQUIRE(given.size() == wanted.size());
    for (std::size_t place = 0; place < wanted.size(); ++place)
        CHECK(given[place] == doctest::Approx(wanted[place]).epsilon(1e-4));
}

TEST_CASE("answers are those of ONNX Runtime, and only counts and answers are read") {
    const Bench bench(bundle_folder(), trbert::Mode::staged, buckets());
    const trbert::Inputs inputs = rows_of(bench.bundle, 29, 15);
    const trbert::Output wanted = trbert::Engine(bundle_folder(), two_threads()).run(inputs, true);
    const trbert::Output given = bench.run(inputs);
    CHECK(given.kept == wanted.kept);
    for (std::size_t place = 0; place < wanted.at("logits").data.size(); ++place)
        CHECK(given.at("logits").data[place] == doctest::Approx(wanted.at("logits").data[place]).epsilon(1e-4));
    bench.device->downloads = 0;
    const trbert::Output plain = bench.run(inputs, false);
    CHECK(plain.at("logits").data == given.at("logits").data);
    std::size_t runs = 0;
    for (const auto& stage : plain.group_sizes) {
        runs += stage.size();
        for (const std::size_t rows : stage) CHECK(rows <= 8);
    }
    // A count for each run of a stage that reduces, the answer for each of the last; in budget mode no counts.
    const std::size_t last = plain.group_sizes.back().size();
    const std::size_t wanted_reads = !bench.bundle.reduction.by_budget() ? runs : last;
    CHECK(static_cast<std::size_t>(bench.device->downloads) == wanted_reads);
}

TEST_CASE("each caller has a worker of its own, which the next one takes over") {
    Bench bench(bundle_folder(), trbert::Mode::staged, buckets());
    const trbert::Inputs inputs = rows_of(bench.bundle, 9, 14);
    const auto wanted = bench.run(inputs).at("logits").data;
    CHECK(bench.device->streams == 1);
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&] {
            for (int round = 0; round < 4; ++round)
                if (bench.run(inputs).at("logits").data != wanted) ++wrong;
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(bench.device->streams <= 4);
    const std::size_t blocks = bench.device->blocks();
    bench.run(inputs);
    CHECK(bench.device->blocks() == blocks);  // nothing more is taken for the same shapes
}

TEST_CASE("a worker gives everything back") {
    HostDevice device;
    const Bundle bundle = open_bundle(bundle_folder(), false);
    const Pipeline pipeline(bundle, trbert::Mode::staged);
    const std::shared_ptr<Pool> pool = Pool::of_process(two_threads());
    const ShapeBuckets shapes = buckets();
    TensorRtEngines engines;
    for (std::size_t stage = 0; stage < pipeline.graphs().size(); ++stage)
        engines.push_back(std::make_unique<HostEngine>(*pool, bundle, pipeline.graphs()[stage],
                                                       profiles_of(bundle, shapes, stage), device));
    {
        Worker worker(device, engines, shapes, bundle.task);
        pipeline.run(worker, Request(bundle.task, rows_of(bundle, 3, 9)), true);
        pipeline.run(worker, Request(bundle.task, rows_of(bundle, 8, 20)), true);  // buffers grow
        CHECK(device.blocks() > 4);
    }
    CHECK(device.blocks() == 0);
    CHECK(device.streams == 0);
}

TEST_CASE("rows that no TensorRT engine holds are an error, the runtime lives on") {
    const Bundle bundle = open_bundle(bundle_folder(), false);
    const ShapeBuckets narrow{{8, 16}, std::vector<Buckets>(bundle.reductions(), {16}), 4, 4};
    const Bench bench(bundle_folder(), trbert::Mode::staged, narrow);
    CHECK_THROWS_WITH_AS(bench.run(rows_of(bundle, 20, 17)), doctest::Contains("at most 16 tokens, this batch has"),
                         trbert::Error);
    CHECK(bench.run(rows_of(bundle, 20, 16)).at("logits").shape[0] == 20);
}
