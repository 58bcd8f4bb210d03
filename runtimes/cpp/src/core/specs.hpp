// What a model takes and answers, as data that a manifest holds: trbert_deploy/core/specs.py says what each field
// means. No task is known by its name.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/json.hpp"

namespace trbert::internal {

// The largest number that specs hold, and the largest size; the smallest is one below its negative.
inline constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();

// An axis is a name where its size varies, such as "batch" or "length", and a number where it does not.
struct Axis {
    std::string name;  // empty where the size is fixed
    std::int64_t size = 0;

    bool varies() const { return !name.empty(); }
    bool operator==(const Axis& other) const { return name == other.name && size == other.size; }
};
using Axes = std::vector<Axis>;

// Sizes of axes by name.
using Sizes = std::map<std::string, std::int64_t>;

// The names that graphs give to axes of their own; every other name is a caller's own axis, such as "options".
inline const std::string kBatch = "batch", kLength = "length", kKept = "kept", kBatchBefore = "batch_before";
bool is_callers_own(const Axis& axis);

// As people read them: "[rows, tokens]".
std::string named(const Axes& axes);

// A tensor that a graph takes or gives.
struct TensorSpec {
    std::string name;
    Axes axes;
    std::string dtype;  // numpy's name of its type
};

// An int64 array that a caller gives.
struct InputSpec {
    std::string name;
    Axes axes;
    std::int64_t minimum = 0;
    std::optional<std::int64_t> maximum, maximum_from_length;
    std::int64_t padding = 0;
    std::optional<std::int64_t> otherwise;  // what fills it where it is not given: "default" in the manifest
    std::string key;                        // how an item spells it

    // Whether its last axis is the row's tokens.
    bool per_token() const { return axes.back().name == kLength; }
};

// A float32 array that a model answers.
struct OutputSpec {
    std::string name;
    Axes axes;
    float padding = 0.0F;

    // Whether its second axis is the row's tokens.
    bool per_token() const { return axes.size() > 1 && axes[1].name == kLength; }
};

// A run of tokens of one token type: kCls, kSep and keys of an item's parts.
struct SegmentSpec {
    std::int64_t token_type;
    std::vector<std::string> tokens;
};
inline const std::string kCls = "<cls>", kSep = "<sep>";

// How an item of text becomes a row of token ids.
struct TextSpec {
    enum class Truncation { longest_first, only };

    std::vector<std::vector<std::string>> forms;
    std::vector<std::string> positional;
    std::vector<SegmentSpec> segments;
    Truncation truncation = Truncation::longest_first;
    std::optional<std::string> cut, each;
    std::map<std::string, std::string> ends;
    std::optional<std::string> offsets;
};

// How output arrays become a prediction; see text/decoding.hpp.
struct DecodingSpec {
    std::string kind;
    Json parameters;
};

// What one model takes and answers.
struct TaskSpec {
    std::string name;
    std::vector<InputSpec> inputs;  // input_ids and attention_mask first
    std::vector<OutputSpec> outputs;
    std::int64_t max_length = 0;
    std::optional<TextSpec> text;
    DecodingSpec decoding;
    std::optional<std::string> sequences_axis, protected_from;

    // The one of that name, or nullptr.
    const InputSpec* input(const std::string& name) const;
    const OutputSpec* output(const std::string& name) const;
};

// How a model drops tokens on its way up.
struct ReductionSpec {
    enum class Fate { dropped, attended };

    std::string kind;
    std::vector<std::int64_t> layers;
    Fate fate = Fate::dropped;
    std::vector<double> fractions;  // one for each reduction in budget mode; empty in policy mode
    bool full_length = false;

    bool by_budget() const { return !fractions.empty(); }
};

}  // namespace trbert::internal
