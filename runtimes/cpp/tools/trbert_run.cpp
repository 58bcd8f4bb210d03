// trbert-run: answer texts or JSON lines with a bundle, prove a bundle, or measure it. The smallest example of the
// library, and what to run first where a service misbehaves.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <trbert/trbert.hpp>

#include "arguments.hpp"
#include "items.hpp"

namespace {

using namespace tool;

// Hand on what was printed, and fail where it is lost.
void flush() {
    if (!std::cout.flush())
        throw trbert::Error(trbert::ErrorCode::runtime, "the standard output cannot be written, answers are lost");
}

std::vector<std::string> json_of(const std::vector<Item>& items) {
    std::vector<std::string> json;
    for (const Item& item : items) json.push_back(item.json);
    return json;
}

// What is wrong with an item that was given alone, under the name that it has here.
std::string complaint(const std::string& name, const std::string& what) {
    const std::string alone = "item 0";
    return name + (what.compare(0, alone.size(), alone) == 0 ? what.substr(alone.size()) : ": " + what);
}

// Write the answers; where an item is broken, those before it, and name its line.
void answer(const trbert::Engine& engine, const std::vector<Item>& items) {
    try {
        for (const std::string& line : engine.predict(json_of(items))) std::cout << line << '\n';
        return flush();
    } catch (const trbert::Error& failure) {
        if (failure.code() != trbert::ErrorCode::input && failure.code() != trbert::ErrorCode::runtime) throw;
    }
    for (const Item& item : items) {
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
