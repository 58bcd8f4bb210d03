#include "options.hpp"

#include <cstdlib>

namespace service {

const char* const kUsage = R"(usage: trbert-service BUNDLE [options]

Answers POST /predict over HTTP, with GET /healthz and GET /metrics (Prometheus).

  --host HOST            address to listen on (127.0.0.1)
  --port PORT            0: any free one; the first line printed names it (8080)
  --mode MODE            staged, fused or dense (staged)
  --device DEVICE        cpu or cuda (cpu)
  --threads N            threads of ONNX Runtime (every core)
  --connections N        at a time; further ones wait, and requests get 429 before all are in use (128)
  --queue N              items that may wait; beyond them requests get 429 (64)
  --batch-tokens N       tokens that run together (4096)
  --max-body-bytes N     larger requests get 413 (1048576)
  --body-seconds N       requests whose body takes longer to arrive get 408 (5)
  --max-item-bytes N     so do requests with an item, as JSON, larger than this (65536)
)";

namespace {

int number(const std::string& name, const std::string& text, int least) {
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || value < least || value > 1'000'000'000) {
        throw Usage(name + " takes a number from " + std::to_string(least) + ", not " + text);
    }
    return static_cast<int>(value);
}

std::size_t size(const std::string& name, const std::string& text, int least = 1) {
    return static_cast<std::size_t>(number(name, text, least));
}

trbert::Mode mode(const std::string& name) {
    if (name == "staged") return trbert::Mode::staged;
    if (name == "fused") return trbert::Mode::fused;
    if (name == "dense") return trbert::Mode::dense;
    throw Usage("--mode takes staged, fused or dense, not " + name);
}

}  // namespace

Options parse(const std::vector<std::string>& words) {
    Options options;
    for (std::size_t place = 0; place < words.size(); ++place) {
        const std::string& word = words[place];
        const auto value = [&] {
            if (++place == words.size()) throw Usage(word + " needs a value");
            return words[place];
        };
        if (word == "--host") options.host = value();
        else if (word == "--port") options.port = number(word, value(), 0);
        else if (word == "--mode") options.engine.mode = mode(value());
        else if (word == "--device") options.engine.device = value();
        else if (word == "--threads") options.engine.threads = number(word, value(), 1);
        else if (word == "--connections") options.connections = size(word, value(), 2 * kSpareConnections);
        else if (word == "--queue") options.limits.queue = size(word, value());
        else if (word == "--batch-tokens") options.limits.batch_tokens = number(word, value(), 1);
        else if (word == "--max-body-bytes") options.max_body_bytes = size(word, value());
        else if (word == "--body-seconds") options.body_time = std::chrono::seconds(number(word, value(), 1));
        else if (word == "--max-item-bytes") options.max_item_bytes = size(word, value());
        else if (word.size() > 1 && word[0] == '-') throw Usage("unknown option " + word);
        else if (options.bundle.empty()) options.bundle = word;
        else throw Usage("one bundle is wanted, not " + word + " too");
    }
    if (options.bundle.empty()) throw Usage("a bundle is needed");
    if (options.port > 65535) throw Usage("--port takes a number up to 65535");
    return options;
}

}  // namespace service
