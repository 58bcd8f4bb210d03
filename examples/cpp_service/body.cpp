#include "body.hpp"

#include <algorithm>

namespace service {

std::vector<std::string> items_of(std::string_view body, bool lines) {
    if (!lines) return {std::string(body)};
    std::vector<std::string> items;
    while (!body.empty()) {
        const std::size_t end = std::min(body.find('\n'), body.size());
        const std::string_view line = body.substr(0, end);
        if (line.find_first_not_of(" \t\r") != std::string_view::npos) items.emplace_back(line);
        body.remove_prefix(std::min(end + 1, body.size()));
    }
    return items;
}

}  // namespace service
