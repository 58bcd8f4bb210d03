// Run a bundle that `trbert-deploy export` wrote.
//
//     #include <trbert/trbert.hpp>
//
//     trbert::Engine engine("bundle/");
//     engine.verify().require_passed();                                // replays the bundle's golden vectors
//     auto batch = engine.tokenize({{"A wonderful film."}, {"a text", "and its pair"}});
//     engine.run(batch.inputs).at("logits").data;                      // float [rows * labels]
//     engine.predict({R"({"id": 7, "text": "A wonderful film."})"});   // JSON in, JSON out, as the Python engine
//
// An engine may be used from several threads at once; moving and destroying it may not overlap with a call.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <trbert/export.h>

namespace trbert {
namespace internal {
struct Row;
}

enum class ErrorCode {
    input = 1,          // what was given does not fit the model, or is not valid UTF-8 or JSON
    bundle = 2,         // the bundle or an engine of it is missing, incomplete, damaged or of another version
    device = 3,         // the device is not there
    configuration = 4,  // options that do not go together
    runtime = 5,        // ONNX Runtime or TensorRT failed
    check = 6,          // the engine does not answer like its reference
};

// Everything that this library throws; `what()` says what is wrong and how to mend it.
class TRBERT_EXPORT Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    ErrorCode code() const noexcept { return code_; }

private:
    ErrorCode code_;
};

// An array in row-major order.
template <typename Number>
struct Tensor {
    std::vector<std::int64_t> shape;
    std::vector<Number> data;
};

// Which graphs answer: one a stage (the fastest), all stages in one, or the same weights without reduction.
enum class Mode { staged, fused, dense };

struct Options {
    Mode mode = Mode::staged;
    std::string runtime = "ort";    // ONNX Runtime; or "trt": the TensorRT engines that `trbert-deploy build` made
    std::string device;             // "cpu" or "cuda", an error where it is not there; empty: cpu, of TensorRT cuda
    std::string provider;           // of ONNX Runtime: "tensorrt" or "rtx" (TensorRT-RTX); empty: the device's own
    std::string provider_library;   // of "rtx": its plugin, where ONNX Runtime was built without it
    std::string engines;            // folder of TensorRT engines; empty: BUNDLE.engines beside the bundle
    int threads = 0;                // of the pool that all engines of the process share; 0: its size, or every core
    bool share_pool = true;         // false: pools of its own, where the process has other ONNX Runtime sessions
    bool check_sha256 = false;      // compare every file of the bundle with the manifest first
    std::string memory = "lean";    // kept of what requests took on a CPU: "lean" nothing, "arena" all, "shrink" some
    std::int64_t group_tokens = 0;  // rows run together up to so many, padding included; 0: 4096 on a CPU, else 16384
};

// By name, int64: input_ids [rows, tokens] (multiple choice: [rows, options, tokens]); attention_mask of the same
// shape, real tokens first (all ones where not given); token_type_ids of the same shape (zeros); and the task's own:
// question_ends [rows], sentence_spans [rows, sentences, 2], candidate_positions [rows, candidates].
using Inputs = std::map<std::string, Tensor<std::int64_t>>;

// By name: logits [rows, labels]; question answering start_logits and end_logits [rows, tokens]; HotpotQA adds
// switch_logits and sent_logits; WikiHop candidate_logits.
struct Output : std::map<std::string, Tensor<float>> {
    // Where asked for: [reduction][row] -> positions that were kept, in the original row, ascending.
    std::vector<std::vector<std::vector<std::int64_t>>> kept;
    // [stage] -> rows that ran together, in the order in which they ran.
    std::vector<std::vector<std::size_t>> group_sizes;
};

struct Text {
    std::string text;  // UTF-8; of a pair the first, in question answering the question
    std::optional<std::string> pair = std::nullopt;
};

struct Batch {
    Inputs inputs;                // for `Engine::run`
    std::vector<bool> truncated;  // of each row: whether tokens were left out to fit the model
};

struct Verification {
    std::size_t rows = 0;                 // golden rows that were replayed
    std::vector<std::string> complaints;  // what differed; empty where the engine proved itself
    bool passed() const { return complaints.empty(); }
    TRBERT_EXPORT void require_passed() const;  // throws Error with code `check`
};

struct Description {
    std::string task;                 // such as "sequence-classification"
    std::vector<std::string> labels;  // names of the classes by index; may be empty
    std::vector<std::string> outputs;
    std::size_t reductions = 0;
    std::int64_t max_length = 0;  // tokens in a row
    bool has_tokenizer = false;   // whether it takes text
};

// An item that was understood and tokenized, to be answered beside items of other callers.
struct Prepared {
    std::int64_t tokens = 0;  // that it runs: of all options in multiple choice
    std::shared_ptr<const internal::Row> row;
};

class TRBERT_EXPORT Engine {
public:
    explicit Engine(const std::string& bundle, const Options& options = {});
    ~Engine();
    Engine(Engine&&) noexcept;
    Engine& operator=(Engine&&) noexcept;

    // A row's answer does not depend on the rows beside it.
    Output run(const Inputs& inputs, bool want_kept = false) const;

    // Texts to token ids, the same as Hugging Face's tokenizer gives. Throws where the bundle has no tokenizer.
    Batch tokenize(const std::vector<Text>& texts) const;

    // Answer JSON objects, each as a line of `trbert-deploy predict` and with its answer's keys; offsets count code
    // points. Throws for the first item that cannot be understood.
    std::vector<std::string> predict(const std::vector<std::string>& items) const;

    // The two halves of `predict`, for hosts that make batches of many callers' items.
    Prepared prepare(const std::string& item) const;
    std::vector<std::string> answer(const std::vector<Prepared>& items) const;

    // Replay the bundle's golden vectors.
    Verification verify() const;
    const Description& description() const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

TRBERT_EXPORT const char* version();
}  // namespace trbert
