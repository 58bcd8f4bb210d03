// libFuzzer's target: what a connection brings, up to three requests. The first byte says in pieces of how many bytes
// it comes: what is a request, and what is in it, may not depend on that. What is none may be refused sooner or later.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "request_reader.hpp"

namespace {

constexpr std::size_t kMostHeader = 512, kMostBody = 4096;

// The requests that were read: method, path and body.
std::vector<std::string> read(std::string_view bytes, std::size_t piece) {
    std::vector<std::string> found;
    std::string input;
    try {
        for (int request = 0; request < 3; ++request) {
            service::RequestReader reader(kMostHeader, kMostBody);
            bool kept = false;
            while (!reader.whole()) {
                const std::size_t taken = input.empty() ? 0 : reader.take(input);
                if (taken > input.size()) std::abort();
                input.erase(0, taken);
                if (reader.has_head() && !std::exchange(kept, true)) {
                    reader.keep_body();
                    continue;
                }
                if (reader.whole() || (taken > 0 && !input.empty())) continue;
                if (bytes.empty()) return found;
                input += bytes.substr(0, piece);
                bytes.remove_prefix(std::min(piece, bytes.size()));
            }
            if (reader.complaint()) throw service::Refusal(*reader.complaint());
            const std::string body = reader.take_body();
            if (body.size() > kMostBody) std::abort();
            found.push_back(reader.head().method + " " + reader.head().path + " " + body);
        }
    } catch (const service::Refusal&) {
    }
    return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    if (read(bytes, 1 + data[0]) != read(bytes, size)) std::abort();
    return 0;
}
