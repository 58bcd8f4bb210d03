#include "core/json.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "core/errors.hpp"

namespace trbert::internal {

namespace {
constexpr int kMaxDepth = 64;
}

Json parse_json(std::string_view text) {
    const auto bounded = [](int depth, Json::parse_event_t, Json&) {
        if (depth > kMaxDepth) throw std::invalid_argument("nested too deeply");
        return true;
    };
    try {
        return Json::parse(text.begin(), text.end(), bounded);
    } catch (const Json::exception& failure) {
        std::string what = failure.what();  // "[json.exception.parse_error.101] parse error at ..., last read: '...'"
        std::replace_if(what.begin(), what.end(), [](char byte) { return static_cast<signed char>(byte) < ' '; }, '?');
        const std::size_t start = what.find("] ");
        throw std::invalid_argument(start == std::string::npos ? what : what.substr(start + 2));
    }
}

Json read_json_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (!file.good() && !file.eof()) throw bundle_error(path.string() + " cannot be read");
    try {
        return parse_json(text);
    } catch (const std::invalid_argument& failure) {
        throw bundle_error(path.string() + " is not valid JSON: " + failure.what());
    }
}

std::int64_t integer(const Json& value) {
    if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
    if (value.is_number_unsigned() &&
        value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        throw std::invalid_argument("a number is too large");
    }
    if (!value.is_number_integer())
        throw std::invalid_argument(std::string("an integer is wanted, not ") + value.type_name());
    return value.get<std::int64_t>();
}

double number(const Json& value) {
    if (!value.is_number()) throw std::invalid_argument(std::string("a number is wanted, not ") + value.type_name());
    return value.get<double>();
}

const Json* value_of(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace trbert::internal
