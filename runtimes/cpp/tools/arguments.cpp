#include "arguments.hpp"

#include <cstdlib>

namespace tool {

const char* const kUsage = R"(usage: trbert-run BUNDLE [options] [--] [TEXT]...

Answers texts, or JSON lines from --data or the standard input: a JSON line each, in order.

  --data FILE        JSON lines, as `trbert-deploy predict` takes, uncompressed; - is the standard input
  --batch-size N     rows that run together (32)
  --mode MODE        staged, fused or dense (staged)
  --runtime RUNTIME  ort, or trt: the TensorRT engines that `trbert-deploy build` made (ort)
  --device DEVICE    cpu or cuda (cpu, of TensorRT cuda)
  --provider NAME    of ONNX Runtime: tensorrt or rtx (the device's own)
  --provider-library FILE  of rtx: its plugin, where ONNX Runtime was built without it
  --engines DIR      folder of TensorRT engines (beside the bundle)
  --threads N        threads (every core)
  --memory KIND      kept of what a request took: lean nothing, arena all, shrink what others need (lean)
  --group-tokens N   rows run together up to so many (4096 on a CPU)
  --check-sha256     compare every file of the bundle with its manifest first
  --verify           replay the bundle's golden vectors instead
  --bench N          answer everything N times after one warm-up instead, and print times as JSON
  --version, --help
  --                 what follows is a text, even where it starts with -

Exit codes: 0 fine, 1 a check failed or something you can mend, 2 usage.
)";

namespace {

int number(const std::string& name, const std::string& text) {
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || value < 1 || value > 1'000'000)
        throw Usage(name + " takes a number from 1, not " + text);
    return static_cast<int>(value);
}

trbert::Mode mode(const std::string& name) {
    if (name == "staged") return trbert::Mode::staged;
    if (name == "fused") return trbert::Mode::fused;
    if (name == "dense") return trbert::Mode::dense;
    throw Usage("--mode takes staged, fused or dense, not " + name);
}

}  // namespace

Arguments parse(const std::vector<std::string>& words) {
    Arguments arguments;
    std::vector<std::string> plain;
    for (std::size_t place = 0; place < words.size(); ++place) {
        const std::string& word = words[place];
        const auto value = [&] {
            if (++place == words.size()) throw Usage(word + " needs a value");
            return words[place];
        };
        if (word == "--data") arguments.data = value();
        else if (word == "--batch-size") arguments.batch_size = static_cast<std::size_t>(number(word, value()));
        else if (word == "--mode") arguments.options.mode = mode(value());
        else if (word == "--device") arguments.options.device = value();
        else if (word == "--runtime") arguments.options.runtime = value();
        else if (word == "--provider") arguments.options.provider = value();
        else if (word == "--provider-library") arguments.options.provider_library = value();
        else if (word == "--engines") arguments.options.engines = value();
        else if (word == "--threads") arguments.options.threads = number(word, value());
        else if (word == "--memory") arguments.options.memory = value();
        else if (word == "--group-tokens") arguments.options.group_tokens = number(word, value());
        else if (word == "--check-sha256") arguments.options.check_sha256 = true;
        else if (word == "--verify") arguments.verify = true;
        else if (word == "--bench") arguments.rounds = static_cast<std::size_t>(number(word, value()));
        else if (word == "--") {
            plain.insert(plain.end(), words.begin() + static_cast<std::ptrdiff_t>(place) + 1, words.end());
            break;
        } else if (word.size() > 1 && word[0] == '-') throw Usage("unknown option " + word);
        else plain.push_back(word);
    }
    if (plain.empty()) throw Usage("a bundle is needed");
    arguments.bundle = plain.front();
    arguments.texts.assign(plain.begin() + 1, plain.end());
    if (!arguments.texts.empty() && !arguments.data.empty()) throw Usage("give texts or --data, not both");
    return arguments;
}

}  // namespace tool
