// The files of a bundle: where their names may lead, and whether they are what the manifest says.
#pragma once

#include <optional>
#include <string>

#include "bundle/manifest.hpp"

namespace trbert::internal {

// Whether a name stands for a place in the bundle, on every system.
bool is_inside(const std::string& name);

// What is wrong with one of the files that the manifest names, or "". With `content` it is hashed; else its place and
// its size alone are checked.
std::string damage(const Bundle& bundle, const std::string& name, bool content);

// The major number of the `schema_version` of a file, such as "2.0"; nothing where it has none.
std::optional<int> major_version(const Json& file);

}  // namespace trbert::internal
