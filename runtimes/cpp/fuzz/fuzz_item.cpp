// A request: JSON to rows of token ids, for each task by the first byte; what comes out is a valid request.
#include "common.hpp"
#include "items.hpp"

using namespace trbert::internal;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::vector<Bundle> bundles = [] {
        std::vector<Bundle> all;
        for (const char* task : {"sequence-classification", "multiple-choice", "question-answering", "hotpot",
                                 "wikihop", "token-classification"}) {
            all.push_back(open_bundle(test_bundle(), false));
            all.back().task = task_named(task);
        }
        return all;
    }();
    static const std::vector<RowMaker> makers(bundles.begin(), bundles.end());
    if (size == 0) return 0;
    const std::size_t chosen = data[0] % bundles.size();
    const std::string json(reinterpret_cast<const char*>(data) + 1, size - 1);
    try {
        const Row row = makers[chosen].make(read_item(bundles[chosen], json, "item"));
        require(row.length >= 1 && row.length <= bundles[chosen].limits.max_length);
        require(!row.offsets || row.offsets->size() == static_cast<std::size_t>(row.length));
        const Request request(*bundles[chosen].task, bundles[chosen].limits, collate({&row, &row}));
        require(request.size() == 2);
    } catch (const trbert::Error&) {
    }
    return 0;
}
