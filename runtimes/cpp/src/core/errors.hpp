// One place where errors are worded: what is wrong, then how to mend it.
#pragma once

#include <string>

#include "trbert/trbert.hpp"

namespace trbert::internal {

inline Error error(ErrorCode code, const std::string& message, const std::string& hint = "") {
    return Error(code, hint.empty() ? message : message + ". " + hint);
}

inline Error input_error(const std::string& message, const std::string& hint = "") {
    return error(ErrorCode::input, message, hint);
}

inline Error bundle_error(const std::string& message,
                          const std::string& hint = "export the bundle again: trbert-deploy export MODEL --out DIR") {
    return error(ErrorCode::bundle, message, hint);
}

}  // namespace trbert::internal
