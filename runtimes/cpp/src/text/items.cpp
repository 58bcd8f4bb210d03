#include "text/items.hpp"

#include <algorithm>
#include <stdexcept>

#include "core/errors.hpp"

namespace trbert::internal {
namespace {

using Keys = std::vector<std::string>;

bool contains(const Keys& keys, const std::string& key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
}

std::string accepted(const TaskSpec& task) {
    std::string forms;
    for (const Keys& keys : task.text ? task.text->forms : std::vector<Keys>()) {
        std::string form;
        for (const std::string& key : keys) form += (form.empty() ? "{" : ", ") + key;
        forms += form + "} or ";
    }
    forms += "{input_ids";
    for (const InputSpec& spec : task.inputs) forms += spec.per_token() ? "" : ", " + spec.key;
    return "it takes " + forms + "} (token ids)";
}

Error not_understood(const TaskSpec& task, const std::string& name, const std::string& what) {
    return input_error(name + " " + what + ", which task " + task.name + " does not take", accepted(task));
}

// One of what a key names: "choices" hold a choice.
std::string singular(const std::string& key) {
    return key.size() > 1 && key.back() == 's' ? key.substr(0, key.size() - 1) : key;
}

std::string text_of(const Json& value, const std::string& key, const std::string& name) {
    if (!value.is_string()) throw input_error(name + ": " + key + " must be text, not " + value.type_name());
    return value.get<std::string>();
}

TextPart read_part(const Json& value, const std::string& key, bool several, const std::string& name) {
    if (!several) return {key, {text_of(value, key, name)}};
    if (!value.is_array() || value.empty())
        throw input_error(name + ": " + key + " must be a list of texts, with at least one");
    TextPart part{key, {}};
    for (const Json& one : value) part.texts.push_back(text_of(one, "a " + singular(key), name));
    return part;
}

// What a plain text or a pair stands for; anything else is itself.
Json with_keys(const TaskSpec& task, const Json& value) {
    if (!task.text) return value;
    const Keys& positional = task.text->positional;
    const auto& forms = task.text->forms;
    const bool one = !positional.empty() && !forms.empty() && forms.back() == Keys{positional.front()};
    Json keyed = Json::object();
    if (value.is_string() && one) {
        keyed[positional.front()] = value;
    } else if (value.is_array() && value.size() == 2 && positional.size() == 2) {
        for (const std::size_t place : {0U, 1U}) keyed[positional[place]] = value[place];
    } else {
        return value;
    }
    return keyed;
}

// The keys of the first form that an item has all of; nullptr where there is none.
const Keys* form_of(const TaskSpec& task, const Json& given) {
    if (!task.text) return nullptr;
    for (const Keys& keys : task.text->forms) {
        const bool all =
            std::all_of(keys.begin(), keys.end(), [&](const std::string& key) { return given.contains(key); });
        // A pair to a task that takes none is a mistake, not an extra.
        if (all && (!given.contains("text_pair") || contains(keys, "text_pair"))) return &keys;
    }
    return nullptr;
}

Item read_object(const TaskSpec& task, const Json& given, const std::string& name) {
    if (given.contains("input_ids")) {
        try {
            return read_token_ids(task, given, name);
        } catch (const Error& failure) {
            throw Error(failure.code(), name + ": " + failure.what());
        }
    }
    const Keys* form = form_of(task, given);
    if (form == nullptr) {
        std::string keys;
        for (const auto& entry : given.items()) keys += (keys.empty() ? "" : ", ") + entry.key();
        throw not_understood(task, name, "has the keys " + (keys.empty() ? "(none)" : keys));
    }
    Item item;
    item.name = name;
    for (const std::string& key : *form) item.parts.push_back(read_part(given[key], key, key == task.text->each, name));
    return item;
}

}  // namespace

Item read_item(const TaskSpec& task, const std::string& json, const std::string& name) {
    Json value;
    try {
        value = parse_json(json);
    } catch (const std::invalid_argument& failure) {
        throw input_error(name + " is not valid JSON: " + failure.what(), "give a JSON object in UTF-8");
    }
    return read_item(task, value, name);
}

Item read_item(const TaskSpec& task, const Json& value, const std::string& name) {
    Json given = with_keys(task, value);
    if (!given.is_object()) throw not_understood(task, name, std::string("is a JSON ") + given.type_name());
    for (auto entry = given.begin(); entry != given.end();)
        entry = entry->is_null() ? given.erase(entry) : std::next(entry);
    Item item = read_object(task, given, name);
    if (given.contains("id")) item.id = std::move(given["id"]);
    return item;
}

}  // namespace trbert::internal
