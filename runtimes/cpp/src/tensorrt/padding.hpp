// A group of rows as a stage's TensorRT engine takes it: sizes rounded up to the shape buckets, what is added masked or
// thrown away. The same as runtimes/tensorrt/padding.py.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "profiles.hpp"
#include "runner.hpp"
#include "tensorrt/device.hpp"

namespace trbert::internal {

// One call of a stage.
struct Padded {
    Sizes sizes;                        // of each axis of its inputs, rounded up
    std::map<std::string, Ids> arrays;  // what the host gives, padded
    std::int64_t rows;                  // how many of the batch's rows are real
    std::optional<std::int64_t> width;  // how many of a row's tokens are, where the host gives any array over them

    // Of an input.
    Shape shape(const Axes& axes) const;
};

// Round a stage's feeds up. A row that is added repeats the last one: it is computed like any other, and nobody looks
// at it. A token that is added is masked (stage 0) or gathered from behind the kept ones and masked there (later
// stages); what stands there is said by the task. Throws Error (input) where there are more tokens than the largest
// bucket.
Padded pad(const std::map<std::string, Axes>& inputs, const Feeds& feeds, const ShapeBuckets& shapes, std::size_t stage,
           const TaskSpec& task);

}  // namespace trbert::internal
