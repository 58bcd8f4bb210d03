#include "items.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "arrays.hpp"
#include "errors.hpp"
#include "graphs.hpp"
#include "text/unicode.hpp"

namespace trbert::internal {
namespace {

using Keys = std::vector<std::string>;

// The sets of keys that make an item of text, the larger first.
std::vector<Keys> text_keys(const Task& task) {
    if (task.name == "sequence-classification") return {{"text", "text_pair"}, {"text"}};
    if (task.name == "token-classification") return {{"text"}};
    if (task.name == "question-answering") return {{"question", "context"}};
    if (task.name == "multiple-choice") return {{"context", "question", "choices"}};
    return {};
}

// The task's own input as an item spells it.
std::string own_key(const std::string& name) { return name == "question_ends" ? "question_end" : name; }

std::string accepted(const Task& task) {
    std::string forms;
    for (Keys keys : text_keys(task)) {
        std::string form;
        for (const std::string& key : keys) form += (form.empty() ? "{" : ", ") + key;
        forms += form + "} or ";
    }
    forms += "{input_ids";
    for (const std::string& name : task.inputs) forms += ", " + own_key(name);
    return "it takes " + forms + "} (token ids)";
}

Error not_understood(const Task& task, const std::string& name, const std::string& what) {
    return input_error(name + " " + what + ", which task " + task.name + " does not take", accepted(task));
}

std::string text_of(const Json& value, const std::string& key, const std::string& name) {
    if (!value.is_string()) throw input_error(name + ": " + key + " must be text, not " + value.type_name());
    return value.get<std::string>();
}

Offsets read_offsets(const Json& value, std::size_t length, std::size_t characters, const std::string& name) {
    if (!value.is_array() || value.size() < length) {
        throw input_error(name + ": offsets must be a list with an entry for each of the " + std::to_string(length) +
                          " tokens");
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
            throw input_error(name + ": offsets[" + std::to_string(place) +
                              "] must be null or [start, end] within the " + std::to_string(characters) +
                              " characters of the context");
        }
        offsets[place] = Span{static_cast<std::size_t>(start), static_cast<std::size_t>(end)};
    }
    return offsets;
}

// One array of an item, as a batch of one row.
Ids row_of(const std::string& name, const Json& value) {
    if (value.is_array() && value.empty() && name == "sentence_spans") return {{1, 1, 2}, {-1, -1}};
    if (value.is_array() && value.empty() && name == "candidate_positions") return {{1, 1}, {-1}};
    try {
        Ids array = integers_of(value);
        array.shape.insert(array.shape.begin(), 1);
        return array;
    } catch (const std::invalid_argument& failure) {
        throw input_error(name + ": " + failure.what());
    }
}

Item read_token_ids(const Bundle& bundle, const Json& given, const std::string& name) {
    Item item;
    item.name = name;
    try {
        Inputs inputs;
        for (const char* key : {"input_ids", "attention_mask", "token_type_ids"}) {
            if (given.contains(key)) inputs[key] = row_of(key, given[key]);
        }
        for (const std::string& own : bundle.task->inputs) {
            for (const std::string& key : {own, own_key(own)}) {
                if (given.contains(key)) inputs[own] = row_of(own, given[key]);
            }
        }
        const Request request(*bundle.task, bundle.limits, inputs);
        const std::int64_t length = request.lengths().front();
        for (const std::string& key : request.names()) item.arrays[key] = request.take(key, {0}, length);
    } catch (const Error& failure) {
        throw Error(failure.code(), name + ": " + failure.what());
    }
    for (auto& entry : item.arrays) entry.second.shape.erase(entry.second.shape.begin());
    if (given.contains("offsets") && given.contains("context") && given["context"].is_string()) {
        item.context = decode_utf8(given["context"].get<std::string>());
        const auto length = static_cast<std::size_t>(item.arrays.at("input_ids").shape.back());
        item.offsets = read_offsets(given["offsets"], length, item.context.size(), name);
    }
    return item;
}

// To the parser a whole number beyond 64 bits is a float, mostly of another value.
bool comes_back(const Json& id) {
    if (id.is_number_float()) return std::abs(id.get<double>()) < 0x1p63;
    return !id.is_structured() || std::all_of(id.begin(), id.end(), comes_back);
}

Item read_texts(const Task& task, const Json& given, const Keys& keys, const std::string& name) {
    Item item;
    item.name = name;
    for (const std::string& key : keys) {
        if (key != "choices") {
            item.texts.push_back(text_of(given[key], key, name));
            continue;
        }
        if (!given[key].is_array() || given[key].empty()) {
            throw input_error(name + ": choices must be a list of texts, with at least one", accepted(task));
        }
        for (const Json& choice : given[key]) item.texts.push_back(text_of(choice, "a choice", name));
    }
    return item;
}

}  // namespace

Item read_item(const Bundle& bundle, const std::string& json, const std::string& name) {
    const Task& task = *bundle.task;
    Json given;
    try {
        given = parse_json(json);
    } catch (const std::invalid_argument& failure) {
        throw input_error(name + " is not valid JSON: " + failure.what(), "give a JSON object in UTF-8");
    }
    if (!given.is_object()) throw not_understood(task, name, std::string("is a JSON ") + given.type_name());
    for (auto entry = given.begin(); entry != given.end();)
        entry = entry->is_null() ? given.erase(entry) : std::next(entry);
    Item item;
    const std::vector<Keys> forms = text_keys(task);
    const auto form = std::find_if(forms.begin(), forms.end(), [&](const Keys& keys) {
        const bool all =
            std::all_of(keys.begin(), keys.end(), [&](const std::string& key) { return given.contains(key); });
        // A pair to a task that takes none is a mistake, not an extra.
        return all && (!given.contains("text_pair") || contains(keys, "text_pair"));
    });
    if (given.contains("input_ids")) {
        item = read_token_ids(bundle, given, name);
    } else if (form != forms.end()) {
        item = read_texts(task, given, *form, name);
    } else {
        std::string keys;
        for (const auto& entry : given.items()) keys += (keys.empty() ? "" : ", ") + entry.key();
        throw not_understood(task, name, "has the keys " + (keys.empty() ? "(none)" : keys));
    }
    if (given.contains("id")) {
        item.id = given["id"];
        if (!comes_back(item.id)) {
            throw input_error(name + ": id holds a number beyond 64 bits, which would come back as another",
                              "give it as text");
        }
    }
    return item;
}

Item item_of(const Bundle& bundle, const Text& text, const std::string& name) {
    for (const Keys& keys : text_keys(*bundle.task)) {
        if (contains(keys, "choices") || keys.size() != (text.pair ? 2U : 1U)) continue;
        Item item;
        item.name = name;
        item.texts = {text.text};
        if (text.pair) item.texts.push_back(*text.pair);
        return item;
    }
    throw not_understood(*bundle.task, name, text.pair ? "is a pair of texts" : "is a single text");
}

}  // namespace trbert::internal
