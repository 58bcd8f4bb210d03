// The conformance vectors of spec/, to which the Python package is held as well.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "bundle/check_task.hpp"
#include "bundle/read_specs.hpp"
#include "core/arrays.hpp"
#include "core/json.hpp"

namespace trbert::internal {

inline const std::filesystem::path kSpecFolder = TRBERT_SPEC_FOLDER;

// A file, as it lies there: keys of objects keep their order.
inline nlohmann::ordered_json ordered_vectors(const std::string& name) {
    return nlohmann::ordered_json::parse(std::ifstream(kSpecFolder / name));
}

inline constexpr std::uintmax_t kMostBytes = std::uintmax_t{1} << 24;
inline Json vectors(const std::string& name) { return read_json_file(kSpecFolder / name, kMostBytes); }

inline TaskSpec task_of(const Json& file, const Json& test) {
    const TaskSpec task = read_task(file.at("tasks").at(test.at("task").get<std::string>()));
    check_task(task);
    return task;
}

// Arrays by name as nested lists.
inline Json nested(const Ids& array, std::size_t axis, std::size_t& taken) {
    if (axis == array.shape.size()) return array.data.at(taken++);
    Json list = Json::array();
    for (std::int64_t place = 0; place < array.shape[axis]; ++place) list.push_back(nested(array, axis + 1, taken));
    return list;
}
inline Json as_lists(const Inputs& arrays) {
    Json lists = Json::object();
    for (const auto& [name, array] : arrays) {
        std::size_t taken = 0;
        lists[name] = nested(array, 0, taken);
    }
    return lists;
}

}  // namespace trbert::internal
