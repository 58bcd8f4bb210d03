// Manifests of schema 1.x, read as those of today: trbert_deploy/bundle/schema_1.py.
#pragma once

#include "core/json.hpp"

namespace trbert::internal {

// The text of trbert_deploy/bundle/schema_1.json, which is compiled in: what those manifests leave unsaid.
extern const char* const kSchema1Table;

// The same manifest in the form of schema 2.0, as far as it is read here. Throws std::invalid_argument or
// nlohmann::json::exception where it lacks what that is made from.
Json from_schema_1(const Json& manifest);

}  // namespace trbert::internal
