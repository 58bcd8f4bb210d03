// The settings that a provider's sessions are given: a line for each stage, a list of objects, one for each bucket. For
// the tests that compare them with the Python runtime's.
#include <iostream>

#include "bundle/reader.hpp"
#include "core/json.hpp"
#include "onnxruntime/providers.hpp"
#include "pipeline.hpp"

using namespace trbert::internal;

int main(int count, char** words) {
    if (count != 4) return 2;  // BUNDLE PROVIDER ENGINES
    try {
        const Bundle bundle = open_bundle(words[1], false);
        const Pipeline pipeline(bundle, trbert::Mode::staged);
        trbert::Options options;
        options.provider = words[2];
        options.engines = words[3];
        const ProviderRunner runner(
            bundle, pipeline.graphs(), options,
            [](const GraphFile&, const Settings&) -> Ort::Session { throw std::logic_error("nothing is run"); });
        for (std::size_t stage = 0; stage < pipeline.graphs().size(); ++stage) {
            std::cout << Json(runner.settings(stage)) << '\n';
        }
    } catch (const std::exception& failure) {
        std::cerr << failure.what() << '\n';
        return 1;
    }
}
