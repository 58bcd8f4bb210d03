// What trbert-run answers: texts of the command line, or JSON lines.
#pragma once

#include <fstream>
#include <iosfwd>
#include <string>
#include <vector>

#include "arguments.hpp"

namespace tool {

// An item as JSON, and what messages call it.
struct Item {
    std::string json, name;
};

// Throws trbert::Error (input).
[[noreturn]] void refuse(const std::string& what);

class Items {
public:
    explicit Items(const Arguments& arguments);

    // The next items, at most so many; none at the end. What cannot be read is no end.
    std::vector<Item> next(std::size_t most);

private:
    void take_texts(std::size_t most, std::vector<Item>& items);
    void take_lines(std::size_t most, std::vector<Item>& items);

    std::vector<std::string> texts_;
    std::string source_;  // in messages
    std::ifstream file_;
    std::istream* stream_;
    std::size_t number_ = 0;
};

}  // namespace tool
