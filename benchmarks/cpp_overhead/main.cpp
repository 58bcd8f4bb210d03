// Times one row by the library and by ONNX Runtime alone, on the same graphs in the same process and thread pool. What
// runs is said on the standard input, so that benchmarks/cpp_overhead.py can interleave it with Python:
//
//   row {"input_ids": [..], "attention_mask": [..], "token_type_ids": [..]}      -> "ok"
//   library | bare                                                               -> {"ms": 1.23, "logits": [..]}
#include <onnxruntime_cxx_api.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>
#include <trbert/trbert.hpp>

namespace {

using Json = nlohmann::json;
using Values = std::map<std::string, Ort::Value>;
using Logits = std::vector<float>;

// The stages of a bundle in policy mode for a batch of one row, and nothing beside: no checks, no copies, no grouping.
class Bare {
public:
    explicit Bare(const std::string& bundle) {
        Ort::SessionOptions options;
        options.DisablePerSessionThreads();
        const std::filesystem::path folder = bundle;
        const Json manifest = Json::parse(std::ifstream(folder / "manifest.json"));
        if (manifest.at("reduction").at("mode") != "policy")
            throw std::runtime_error("a bundle in policy mode is needed, of schema 2");
        for (const Json& stage : manifest.at("stages")) {
            const std::filesystem::path path = folder / stage.at("file").get<std::string>();
            stages_.push_back({Ort::Session(environment_, path.c_str(), options), names(stage.at("inputs")),
                               names(stage.at("outputs"))});
        }
    }

    Logits run(trbert::Inputs& inputs) {
        Values carried;
        std::int64_t row = 0, kept = 0;
        for (Stage& stage : stages_) {
            std::vector<const char*> names, wanted;
            std::vector<Ort::Value> feeds;
            for (const std::string& name : stage.inputs) {
                names.push_back(name.c_str());
                const auto before = carried.find("next_" + name);
                if (before != carried.end()) feeds.push_back(std::move(before->second));
                else if (name == "rows") feeds.push_back(view(&row, {1}));
                else if (name == "keep") feeds.push_back(view(zeros_.data(), {kept}));
                else feeds.push_back(view(inputs.at(name).data.data(), inputs.at(name).shape));
            }
            for (const std::string& name : stage.outputs) wanted.push_back(name.c_str());
            auto outputs = stage.session.Run(Ort::RunOptions(), names.data(), feeds.data(), feeds.size(), wanted.data(),
                                             wanted.size());
            carried.clear();
            for (std::size_t place = 0; place < outputs.size(); ++place) {
                carried.emplace(stage.outputs[place], std::move(outputs[place]));
            }
            if (const auto count = carried.find("keep_count"); count != carried.end()) {
                kept = *count->second.GetTensorData<std::int64_t>();
            }
        }
        const Ort::Value& logits = carried.at("logits");
        const float* data = logits.GetTensorData<float>();
        return {data, data + logits.GetTensorTypeAndShapeInfo().GetElementCount()};
    }

private:
    struct Stage {
        Ort::Session session;
        std::vector<std::string> inputs, outputs;
    };

    static std::vector<std::string> names(const Json& tensors) {
        std::vector<std::string> names;
        for (const Json& tensor : tensors) names.push_back(tensor.at("name"));
        return names;
    }

    Ort::Value view(std::int64_t* data, const std::vector<std::int64_t>& shape) const {
        std::size_t size = 1;
        for (const std::int64_t extent : shape) size *= static_cast<std::size_t>(extent);
        return Ort::Value::CreateTensor<std::int64_t>(memory_, data, size, shape.data(), shape.size());
    }

    Ort::Env environment_{ORT_LOGGING_LEVEL_ERROR, "bare"};  // the process's one, which the engine made
    Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<Stage> stages_;
    std::vector<std::int64_t> zeros_ = std::vector<std::int64_t>(1024, 0);  // `keep` tells by its shape
};

// Idle threads of the pool spin for a while after a call, and would take the cores from the next one.
void rest() { std::this_thread::sleep_for(std::chrono::milliseconds(60)); }

}  // namespace

int main(int count, char** words) {
    if (count != 3) {
        std::cerr << "usage: trbert-overhead BUNDLE THREADS\n";
        return 2;
    }
    try {
        trbert::Options options;
        options.threads = std::stoi(words[2]);
        const trbert::Engine engine(words[1], options);
        Bare bare(words[1]);
        trbert::Inputs inputs;
        std::string line;
        while (std::getline(std::cin, line)) {
            if (line.compare(0, 4, "row ") == 0) {
                const Json row = Json::parse(line.substr(4));
                for (const auto& [name, ids] : row.items()) {
                    inputs[name] = {{1, static_cast<std::int64_t>(ids.size())}, ids};
                }
                std::cout << "\"ok\"" << std::endl;
                continue;
            }
            rest();
            const auto start = std::chrono::steady_clock::now();
            const Logits logits = line == "bare" ? bare.run(inputs) : engine.run(inputs).at("logits").data;
            const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
            std::cout << Json{{"ms", taken.count()}, {"logits", logits}} << std::endl;
        }
    } catch (const std::exception& failure) {
        std::cerr << failure.what() << '\n';
        return 1;
    }
}
