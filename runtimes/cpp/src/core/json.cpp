#include "core/json.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <vector>

#include "core/errors.hpp"

namespace trbert::internal {
namespace {

constexpr std::size_t kMaxDepth = 64;

// A text of the caller's in a message: one line, and not longer than anybody reads.
std::string shortened(std::string text) {
    constexpr std::size_t most = 80;
    if (text.size() > most) {
        std::size_t cut = most;
        while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;  // within a character
        text = text.substr(0, cut) + "...";
    }
    std::replace_if(text.begin(), text.end(), [](char byte) { return static_cast<unsigned char>(byte) < ' '; }, '?');
    return text;
}

// Is told of the parts of a text in order and puts them together.
class Builder : public nlohmann::json_sax<Json> {
public:
    Json take() { return std::move(whole_); }

    bool null() override { return put(nullptr); }
    bool boolean(bool value) override { return put(value); }
    bool number_integer(number_integer_t value) override { return put(value); }
    bool number_unsigned(number_unsigned_t value) override { return put(value); }
    bool number_float(number_float_t value, const string_t& digits) override {
        if (digits.find_first_of(".eE") == std::string::npos)  // what does not fit an integer comes as a float
            throw std::invalid_argument("the integer " + shortened(digits) + " has more than 64 bits");
        return put(value);
    }
    bool string(string_t& value) override { return put(std::move(value)); }
    bool binary(binary_t&) override { return false; }  // JSON has none

    bool start_object(std::size_t) override { return open(Json::object()); }
    bool key(string_t& name) override {
        if (open_.back()->contains(name))
            throw std::invalid_argument("the key '" + shortened(name) + "' is there twice in one object");
        key_ = std::move(name);
        return true;
    }
    bool end_object() override { return close(); }
    bool start_array(std::size_t) override { return open(Json::array()); }
    bool end_array() override { return close(); }

    bool parse_error(std::size_t, const std::string&, const Json::exception& failure) override {
        const std::string what = failure.what();  // "[json.exception.parse_error.101] parse error at ..., last read: "
        const std::size_t start = what.find("] ");
        std::string plain = start == std::string::npos ? what : what.substr(start + 2);
        std::replace_if(
            plain.begin(), plain.end(), [](char byte) { return static_cast<signed char>(byte) < ' '; }, '?');
        throw std::invalid_argument(plain);
    }

private:
    // References into arrays stay: a member is open only while it is the last of its parent.
    Json* add(Json value) {
        if (open_.empty()) return &(whole_ = std::move(value));
        Json& parent = *open_.back();
        if (parent.is_object()) return &(parent[key_] = std::move(value));
        parent.push_back(std::move(value));
        return &parent.back();
    }

    bool put(Json value) {
        add(std::move(value));
        return true;
    }

    bool open(Json value) {
        if (open_.size() == kMaxDepth)
            throw std::invalid_argument("it is nested more than " + std::to_string(kMaxDepth) + " deep");
        open_.push_back(add(std::move(value)));
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

    Json whole_;
    std::vector<Json*> open_;
    std::string key_;
};

}  // namespace

Json parse_json(std::string_view text) {
    // The parser would skip the one, and end at the other.
    if (text.substr(0, 3) == "\xEF\xBB\xBF") throw std::invalid_argument("it begins with a byte order mark");
    if (text.find('\0') != std::string_view::npos) throw std::invalid_argument("it holds a NUL byte");
    Builder builder;
    Json::sax_parse(text.begin(), text.end(), &builder);
    return builder.take();
}

Json read_json_file(const std::filesystem::path& path, std::uintmax_t most_bytes) {
    std::error_code failure;
    if (!std::filesystem::is_regular_file(path, failure))  // to open a pipe would wait for its other end
        throw bundle_error(path.string() + " cannot be read: it is not a regular file");
    const std::uintmax_t bytes = std::filesystem::file_size(path, failure);
    if (!failure && bytes > most_bytes) {
        throw bundle_error(path.string() + " cannot be read: it has " + std::to_string(bytes) +
                           " bytes, more than the " + std::to_string(most_bytes) + " that are read");
    }
    std::string text(failure ? 0 : bytes, '\0');
    std::ifstream file(path, std::ios::binary);
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (failure || !file) throw bundle_error(path.string() + " cannot be read");
    try {
        return parse_json(text);
    } catch (const std::invalid_argument& problem) {
        throw bundle_error(path.string() + " is not valid JSON: " + problem.what());
    }
}

std::int64_t integer(const Json& value) {
    return value.is_boolean() ? static_cast<std::int64_t>(value.get<bool>()) : whole_number(value);
}

std::int64_t whole_number(const Json& value) {
    if (!value.is_number_integer())
        throw std::invalid_argument(std::string("an integer is wanted, not ") + value.type_name());
    constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > largest)
        throw std::invalid_argument("a number is too large");
    return value.get<std::int64_t>();
}

double number(const Json& value) {
    if (!value.is_number()) throw std::invalid_argument(std::string("a number is wanted, not ") + value.type_name());
    return value.get<double>();
}

float float_of(const Json& value) {
    const double exact = number(value);
    if (std::abs(exact) > std::numeric_limits<float>::max())
        throw std::invalid_argument("a number is larger than a float32 can be");
    return static_cast<float>(exact);
}

const Json* value_of(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace trbert::internal
