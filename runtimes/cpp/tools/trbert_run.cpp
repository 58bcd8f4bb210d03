// trbert-run: answer texts or JSON lines with a bundle, prove a bundle, or measure it. The smallest example of the
// library, and what to run first where a service misbehaves.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <trbert/trbert.hpp>

namespace {

constexpr const char* kUsage = R"(usage: trbert-run BUNDLE [options] [--] [TEXT]...

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
  --check-sha256     compare every file of the bundle with its manifest first
  --verify           replay the bundle's golden vectors instead
  --bench N          answer everything N times after one warm-up instead, and print times as JSON
  --version, --help
  --                 what follows is a text, even where it starts with -

Exit codes: 0 fine, 1 a check failed or something you can mend, 2 usage.
)";

struct Usage : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Arguments {
    std::string bundle, data;
    std::vector<std::string> texts;
    trbert::Options options;
    std::size_t batch_size = 32, rounds = 0;
    bool verify = false;
};

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

[[noreturn]] void refuse(const std::string& what) { throw trbert::Error(trbert::ErrorCode::input, what); }

// Hand on what was printed, and fail where it is lost.
void flush() {
    if (!std::cout.flush())
        throw trbert::Error(trbert::ErrorCode::runtime, "the standard output cannot be written, answers are lost");
}

// Items with what messages call them.
class Items {
public:
    explicit Items(const Arguments& arguments) : texts_(arguments.texts), source_(arguments.data), stream_(&std::cin) {
        if (source_.empty() || source_ == "-") {
            source_ = "the standard input";
            return;
        }
        const std::filesystem::path path = source_;
        std::error_code ignored;
        if (std::filesystem::is_directory(path, ignored))
            refuse(source_ + " is a folder. Name a file of JSON lines in it");
        if (path.extension() == ".gz" || path.extension() == ".xz") {
            const std::string program = path.extension() == ".gz" ? "gzip" : "xz";
            refuse(source_ + " is compressed. Have the lines piped in: " + program + " -dc FILE | trbert-run BUNDLE");
        }
        file_.open(path);
        if (!file_) refuse(source_ + " cannot be read");
        stream_ = &file_;
    }

    struct Item {
        std::string json, name;
    };

    // The next items, at most so many; none at the end. What cannot be read is no end.
    std::vector<Item> next(std::size_t most) {
        std::vector<Item> items;
        std::string line;
        while (items.size() < most && !texts_.empty() && number_ < texts_.size()) {
            try {
                items.push_back(
                    {nlohmann::json{{"text", texts_[number_]}}.dump(), "text " + std::to_string(number_ + 1)});
            } catch (const nlohmann::json::exception&) {
                refuse("text " + std::to_string(number_ + 1) + " is not valid UTF-8");
            }
            ++number_;
        }
        while (items.size() < most && texts_.empty() && std::getline(*stream_, line)) {
            ++number_;
            if (number_ == 1 && line.compare(0, 3, "\xEF\xBB\xBF") == 0) line.erase(0, 3);
            if (line.find_first_not_of(" \t\r") != std::string::npos)
                items.push_back({line, "line " + std::to_string(number_)});
        }
        if (items.empty() && stream_->bad()) {
            refuse(source_ + " cannot be read beyond line " + std::to_string(number_));
        }
        return items;
    }

private:
    std::vector<std::string> texts_;
    std::string source_;  // in messages
    std::ifstream file_;
    std::istream* stream_;
    std::size_t number_ = 0;
};

std::vector<std::string> json_of(const std::vector<Items::Item>& items) {
    std::vector<std::string> json;
    for (const Items::Item& item : items) json.push_back(item.json);
    return json;
}

// What is wrong with an item that was given alone, under the name that it has here.
std::string complaint(const std::string& name, const std::string& what) {
    const std::string alone = "item 0";
    return name + (what.compare(0, alone.size(), alone) == 0 ? what.substr(alone.size()) : ": " + what);
}

// Write the answers; where an item is broken, those before it, and name its line.
void answer(const trbert::Engine& engine, const std::vector<Items::Item>& items) {
    try {
        for (const std::string& line : engine.predict(json_of(items))) std::cout << line << '\n';
        return flush();
    } catch (const trbert::Error& failure) {
        if (failure.code() != trbert::ErrorCode::input) throw;
    }
    for (const Items::Item& item : items) {
        try {
            std::cout << engine.predict({item.json}).front() << '\n';
        } catch (const trbert::Error& failure) {
            flush();
            throw trbert::Error(failure.code(), complaint(item.name, failure.what()));
        }
    }
}

double quantile(const std::vector<double>& sorted, double part) {
    return sorted[static_cast<std::size_t>(part * static_cast<double>(sorted.size() - 1) + 0.5)];
}

// Time from JSON in to JSON out, batch by batch.
void bench(const trbert::Engine& engine, Items& items, const Arguments& arguments) {
    std::vector<std::vector<std::string>> batches;
    std::size_t rows = 0;
    for (auto next = items.next(arguments.batch_size); !next.empty(); next = items.next(arguments.batch_size)) {
        rows += next.size();
        batches.push_back(json_of(next));
    }
    if (batches.empty()) refuse("there is nothing to measure: give texts or JSON lines");
    std::vector<double> milliseconds;
    double sum = 0;
    for (std::size_t round = 0; round <= arguments.rounds; ++round) {
        for (const auto& batch : batches) {
            const auto start = std::chrono::steady_clock::now();
            engine.predict(batch);
            const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
            if (round == 0) continue;  // warm-up
            milliseconds.push_back(taken.count());
            sum += taken.count();
        }
    }
    std::sort(milliseconds.begin(), milliseconds.end());
    std::cout << nlohmann::ordered_json{{"rows", rows},
                                        {"batch_size", arguments.batch_size},
                                        {"rounds", arguments.rounds},
                                        {"batch_p50_ms", quantile(milliseconds, 0.5)},
                                        {"batch_p90_ms", quantile(milliseconds, 0.9)},
                                        {"batch_p99_ms", quantile(milliseconds, 0.99)},
                                        {"rows_per_second", static_cast<double>(rows * arguments.rounds) / sum * 1000}}
              << '\n';
}

int run(const std::vector<std::string>& words) {
    const auto texts = std::find(words.begin(), words.end(), "--");
    const auto asked = [&](const char* option) { return std::find(words.begin(), texts, option) != texts; };
    if (asked("--help") || asked("-h")) {
        std::cout << kUsage;
        return 0;
    }
    if (asked("--version")) {
        std::cout << "trbert-run " << trbert::version() << '\n';
        return 0;
    }
    const Arguments arguments = parse(words);
    const trbert::Engine engine(arguments.bundle, arguments.options);
    if (arguments.verify) {
        const trbert::Verification verification = engine.verify();
        for (const std::string& complaint : verification.complaints) std::cerr << complaint << '\n';
        std::cout << nlohmann::ordered_json{{"passed", verification.passed()}, {"rows", verification.rows}} << '\n';
        return verification.passed() ? 0 : 1;
    }
    Items items(arguments);
    if (arguments.rounds > 0) {
        bench(engine, items, arguments);
        return 0;
    }
    for (auto next = items.next(arguments.batch_size); !next.empty(); next = items.next(arguments.batch_size))
        answer(engine, next);
    return 0;
}

}  // namespace

int main(int count, char** words) {
    std::ios::sync_with_stdio(false);  // with it an input that cannot be read looks like its end
    try {
        const int code = run({words + 1, words + count});
        flush();
        return code;
    } catch (const Usage& failure) {
        std::cerr << "error: " << failure.what() << "\n\n" << kUsage;
        return 2;
    } catch (const std::exception& failure) {
        std::cerr << "error: " << failure.what() << '\n';
        return 1;
    }
}
