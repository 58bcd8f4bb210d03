// JSON in: parsed with the bounds of trbert_deploy/core/strict_json.py, read with types that must match.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace trbert::internal {

using Json = nlohmann::json;

// JSON as RFC 8259 has it, in UTF-8. Throws std::invalid_argument with what is wrong: malformed, half of a surrogate
// pair, a key twice in one object, an integer beyond 64 bits, a number beyond a double, arrays and objects nested more
// than 64 deep.
Json parse_json(std::string_view text);

// Larger files than `most_bytes` are not read. Throws Error (bundle).
Json read_json_file(const std::filesystem::path& path, std::uintmax_t most_bytes);

// The integer that a number or a truth value is. Throws std::invalid_argument for anything else.
std::int64_t integer(const Json& value);

// The integer that a number is. Throws std::invalid_argument for anything else.
std::int64_t whole_number(const Json& value);

// The number. Throws std::invalid_argument for anything else.
double number(const Json& value);

// The number, as one of 32 bits. Throws std::invalid_argument for anything else, and where it is beyond them.
float float_of(const Json& value);

// What an object has under that name; nullptr where it has nothing or null.
const Json* value_of(const Json& object, const char* name);

}  // namespace trbert::internal
