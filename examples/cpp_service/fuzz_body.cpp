// libFuzzer's target: a request's body up to token ids, as Service::predict takes it; the first byte says whether it is
// JSON lines. trbert::Error is a fine answer to anything, every other exception is a finding.
#include <cstdint>
#include <cstdlib>
#include <trbert/trbert.hpp>

#include "body.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const trbert::Engine engine = [] {
        const char* bundle = std::getenv("TRBERT_TEST_BUNDLE");
        if (bundle == nullptr) throw std::runtime_error("set TRBERT_TEST_BUNDLE to a bundle with a tokenizer");
        trbert::Options options;
        options.threads = 1;
        return trbert::Engine(bundle, options);
    }();
    if (size == 0) return 0;
    const std::string body(reinterpret_cast<const char*>(data) + 1, size - 1);
    for (const std::string& item : service::items_of(body, data[0] % 2 == 1)) {
        try {
            const trbert::Prepared prepared = engine.prepare(item);
            if (prepared.tokens < 1 || prepared.tokens > engine.description().max_length) std::abort();
        } catch (const trbert::Error&) {
        }
    }
    return 0;
}
