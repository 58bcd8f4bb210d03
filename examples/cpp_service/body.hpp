// What a request's body holds.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace service {

// Its items, each a JSON object: the body itself, or of JSON lines those that are not blank.
std::vector<std::string> items_of(std::string_view body, bool lines);

}  // namespace service
