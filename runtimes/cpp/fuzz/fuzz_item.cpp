// A request: JSON to rows of token ids, for each task of the conformance vectors by the first byte; what comes out is a
// valid request.
#include "bundle/read_specs.hpp"
#include "bundle/reader.hpp"
#include "common.hpp"
#include "text/items.hpp"
#include "text/row_maker.hpp"

using namespace trbert::internal;

namespace {

// The tasks that items are tokenized for, each with the vocabulary and length of a real bundle.
std::vector<Bundle> bundles_of_tasks() {
    std::vector<Bundle> bundles;
    const Json file = read_json_file(std::filesystem::path(TRBERT_SPEC_FOLDER) / "items.json", 1 << 24);
    for (const Json& task : file.at("tasks")) {
        Bundle bundle = open_bundle(test_bundle(), false);
        TaskSpec spec = read_task(task);
        spec.max_length = bundle.task.max_length;
        spec.inputs.front().maximum = bundle.task.inputs.front().maximum;
        bundle.task = std::move(spec);
        bundles.push_back(std::move(bundle));
    }
    return bundles;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::vector<Bundle> bundles = bundles_of_tasks();
    static const std::vector<RowMaker> makers(bundles.begin(), bundles.end());
    if (size == 0) return 0;
    const std::size_t chosen = data[0] % bundles.size();
    const TaskSpec& task = bundles[chosen].task;
    const std::string json(reinterpret_cast<const char*>(data) + 1, size - 1);
    try {
        const Row row = makers[chosen].make(read_item(task, json, "item"));
        require(row.length >= 1 && row.length <= task.max_length);
        require(!row.offsets || row.offsets->size() == static_cast<std::size_t>(row.length));
        const Request request(task, collate({&row, &row}, task));
        require(request.size() == 2);
    } catch (const trbert::Error&) {
    }
    return 0;
}
