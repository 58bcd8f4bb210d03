// JSON in: parsed with bounds, read with types that must match.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace trbert::internal {

using Json = nlohmann::json;

// Throws std::invalid_argument with what is wrong: malformed, invalid UTF-8, half of a surrogate pair, nested deeper
// than anything that is read here.
Json parse_json(std::string_view text);

// Throws Error (bundle).
Json read_json_file(const std::filesystem::path& path);

// The integer that a number or a truth value is. Throws std::invalid_argument for anything else.
std::int64_t integer(const Json& value);

// The number. Throws std::invalid_argument for anything else.
double number(const Json& value);

// What an object has under that name; nullptr where it has nothing or null.
const Json* value_of(const Json& object, const char* name);

}  // namespace trbert::internal
