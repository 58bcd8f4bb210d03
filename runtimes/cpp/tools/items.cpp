#include "items.hpp"

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

namespace tool {

void refuse(const std::string& what) { throw trbert::Error(trbert::ErrorCode::input, what); }

Items::Items(const Arguments& arguments) : texts_(arguments.texts), source_(arguments.data), stream_(&std::cin) {
    if (source_.empty() || source_ == "-") {
        source_ = "the standard input";
        return;
    }
    const std::filesystem::path path = source_;
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) refuse(source_ + " is a folder. Name a file of JSON lines in it");
    if (path.extension() == ".gz" || path.extension() == ".xz") {
        const std::string program = path.extension() == ".gz" ? "gzip" : "xz";
        refuse(source_ + " is compressed. Have the lines piped in: " + program + " -dc FILE | trbert-run BUNDLE");
    }
    file_.open(path);
    if (!file_) refuse(source_ + " cannot be read");
    stream_ = &file_;
}

std::vector<Item> Items::next(std::size_t most) {
    std::vector<Item> items;
    if (texts_.empty()) take_lines(most, items);
    else take_texts(most, items);
    return items;
}

void Items::take_texts(std::size_t most, std::vector<Item>& items) {
    while (items.size() < most && number_ < texts_.size()) {
        const std::string name = "text " + std::to_string(number_ + 1);
        try {
            items.push_back({nlohmann::json(texts_[number_]).dump(), name});
        } catch (const nlohmann::json::exception&) {
            refuse(name + " is not valid UTF-8");
        }
        ++number_;
    }
}

void Items::take_lines(std::size_t most, std::vector<Item>& items) {
    std::string line;
    while (items.size() < most && std::getline(*stream_, line)) {
        ++number_;
        if (number_ == 1 && line.compare(0, 3, "\xEF\xBB\xBF") == 0) line.erase(0, 3);
        if (line.find_first_not_of(" \t\r") != std::string::npos)
            items.push_back({line, "line " + std::to_string(number_)});
    }
    if (items.empty() && stream_->bad()) refuse(source_ + " cannot be read beyond line " + std::to_string(number_));
}

}  // namespace tool
