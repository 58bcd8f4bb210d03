// Items that are token ids.
#include <stdexcept>

#include "core/errors.hpp"
#include "core/request_checks.hpp"
#include "text/items.hpp"
#include "text/unicode.hpp"

namespace trbert::internal {
namespace {

Offsets read_offsets(const Json& value, std::size_t length, std::size_t characters) {
    if (!value.is_array() || value.size() < length) {
        throw input_error("offsets must be a list with an entry for each of the " + std::to_string(length) + " tokens");
    }
    Offsets offsets(length);
    for (std::size_t place = 0; place < length; ++place) {
        const Json& entry = value[place];
        if (entry.is_null()) continue;
        std::int64_t start = -1, end = -1;
        if (entry.is_array() && entry.size() == 2 && entry[0].is_number_integer() && entry[1].is_number_integer()) {
            start = entry[0].get<std::int64_t>();
            end = entry[1].get<std::int64_t>();
        }
        if (start < 0 || end < start || static_cast<std::size_t>(end) > characters) {
            throw input_error("offsets[" + std::to_string(place) + "] must be null or [start, end] within the " +
                              std::to_string(characters) + " characters of the context");
        }
        offsets[place] = Span{static_cast<std::size_t>(start), static_cast<std::size_t>(end)};
    }
    return offsets;
}

// One array of an item, as a batch of one row. An empty list of sentences or candidates stands for one that is absent.
Ids row_of(const InputSpec& spec, const Json& value) {
    if (value.is_array() && value.empty() && !spec.per_token() && spec.padding < 0) {
        Shape shape{1};
        for (std::size_t place = 1; place < spec.axes.size(); ++place)
            shape.push_back(spec.axes[place].varies() ? 1 : spec.axes[place].size);
        return {shape, Rows(static_cast<std::size_t>(count_of(shape)), spec.padding)};
    }
    try {
        Ids array = integers_of(value);
        array.shape.insert(array.shape.begin(), 1);
        return array;
    } catch (const std::invalid_argument& failure) {
        throw input_error(spec.name + ": " + failure.what());
    }
}

}  // namespace

Item read_token_ids(const TaskSpec& task, const Json& given, const std::string& name) {
    Inputs inputs;
    for (const InputSpec& spec : task.inputs) {
        for (const std::string& spelling : {spec.name, spec.key})
            if (given.contains(spelling)) inputs[spec.name] = row_of(spec, given[spelling]);
    }
    const Request request(task, inputs);
    const std::int64_t length = request.lengths().front();
    Item item;
    item.name = name;
    for (const std::string& key : request.names()) {
        Ids array = request.take(key, {0}, length);
        array.shape.erase(array.shape.begin());
        item.arrays[key] = std::move(array);
    }
    if (given.contains("offsets") && given.contains("context") && given["context"].is_string()) {
        item.context = decode_utf8(given["context"].get<std::string>());
        item.offsets = read_offsets(given["offsets"], static_cast<std::size_t>(length), item.context.size());
    }
    return item;
}

}  // namespace trbert::internal
