#include "options.hpp"

#include <cstdlib>

namespace service {

const char* const kUsage = R"(usage: trbert-service BUNDLE [options]

Answers POST /predict over HTTP, with GET /healthz and GET /metrics (Prometheus).

  --host HOST              address to listen on (127.0.0.1)
  --port PORT              0: any free one; the first line printed names it (8080)
  --tls-certificate FILE   with --tls-key: HTTPS; the certificate and those that vouch for it, in PEM
  --tls-key FILE           its key, in PEM
  --api-key-file FILE      requests need one of these keys, a line each: Authorization: Bearer KEY; without the option
                           the key in the environment variable TRBERT_API_KEY, if there is one
  --mode MODE              staged, fused or dense (staged)
  --device DEVICE          cpu or cuda (cpu)
  --threads N              threads of ONNX Runtime (every core)
  --memory KIND            kept of what a request took: lean nothing, arena all, shrink what others need (lean)
  --batch-tokens N         tokens that run together (4096)
  --queue N                items that may wait; beyond them requests get 429 (64)
  --requests N             requests to /predict at a time; beyond them they get 429 (128)
  --connections N          at a time; further ones wait (512)
  --max-header-bytes N     requests with more in front of their body get 431 (8192)
  --max-body-bytes N       those with a larger body get 413 (1048576)
  --max-item-bytes N       so do those with an item, as JSON, larger than this (65536)
  --header-seconds N       requests whose headers take longer to arrive get 408 (5)
  --body-seconds N         so do those whose body takes longer (5)
  --idle-seconds N         connections on which nothing is asked for so long are closed (5)
  --drain-seconds N        on SIGTERM, /healthz fails for so long before it stops to listen (1)
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

trbert::Mode mode(const std::string& name) {
    if (name == "staged") return trbert::Mode::staged;
    if (name == "fused") return trbert::Mode::fused;
    if (name == "dense") return trbert::Mode::dense;
    throw Usage("--mode takes staged, fused or dense, not " + name);
}

void check(const Options& options) {
    if (options.bundle.empty()) throw Usage("a bundle is needed");
    if (options.server.port > 65535) throw Usage("--port takes a number up to 65535");
    if (options.server.certificate.empty() != options.server.key.empty()) {
        throw Usage("--tls-certificate and --tls-key go together");
    }
}

}  // namespace

Options parse(const std::vector<std::string>& words) {
    Options options;
    ServerOptions& server = options.server;
    for (std::size_t place = 0; place < words.size(); ++place) {
        const std::string& word = words[place];
        const auto value = [&] {
            if (++place == words.size()) throw Usage(word + " needs a value");
            return words[place];
        };
        const auto size = [&] { return static_cast<std::size_t>(number(word, value(), 1)); };
        const auto seconds = [&](int least = 1) { return std::chrono::seconds(number(word, value(), least)); };
        if (word == "--host") server.host = value();
        else if (word == "--port") server.port = number(word, value(), 0);
        else if (word == "--tls-certificate") server.certificate = value();
        else if (word == "--tls-key") server.key = value();
        else if (word == "--api-key-file") options.api_key_file = value();
        else if (word == "--mode") options.engine.mode = mode(value());
        else if (word == "--device") options.engine.device = value();
        else if (word == "--threads") options.engine.threads = number(word, value(), 1);
        else if (word == "--memory") options.engine.memory = value();
        else if (word == "--batch-tokens") options.limits.batch_tokens = number(word, value(), 1);
        else if (word == "--queue") options.limits.queue = size();
        else if (word == "--requests") server.requests = size();
        else if (word == "--connections") server.connections = size();
        else if (word == "--max-header-bytes") server.max_header_bytes = size();
        else if (word == "--max-body-bytes") server.max_body_bytes = size();
        else if (word == "--max-item-bytes") options.max_item_bytes = size();
        else if (word == "--header-seconds") server.header_time = seconds();
        else if (word == "--body-seconds") server.body_time = seconds();
        else if (word == "--idle-seconds") server.idle_time = seconds();
        else if (word == "--drain-seconds") options.drain_time = seconds(0);
        else if (word.size() > 1 && word[0] == '-') throw Usage("unknown option " + word);
        else if (options.bundle.empty()) options.bundle = word;
        else throw Usage("one bundle is wanted, not " + word + " too");
    }
    check(options);
    return options;
}

}  // namespace service
