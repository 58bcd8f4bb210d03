// One batch, checked once: what every runtime is given. The same rules as trbert_deploy/core/request.py.
#pragma once

#include <string>
#include <vector>

#include "core/arrays.hpp"
#include "core/specs.hpp"

namespace trbert::internal {

class Request {
public:
    // The task outlives the request. Throws Error (input) that names the input, the row and the limit.
    Request(const TaskSpec& task, const Inputs& given);

    const TaskSpec& task() const { return *task_; }
    std::size_t size() const { return lengths_.size(); }

    // Real tokens of each row, of its longest sequence.
    const Rows& lengths() const { return lengths_; }

    // N as the caller gave it; outputs over tokens are padded back to it.
    std::int64_t width() const { return sizes_.at(kLength); }

    // How many sequences a row holds: the options in multiple choice, else one.
    std::int64_t sequences() const { return task_->sequences_axis ? sizes_.at(*task_->sequences_axis) : 1; }

    // For each row from which token on it keeps everything; nullptr where the task protects none.
    const Rows* protected_from() const;

    // Of the axes of all inputs.
    const Sizes& sizes() const { return sizes_; }

    // Of all inputs, those that were filled in too.
    std::vector<std::string> names() const;

    // The named input for some rows, cut to `width` tokens where it is over tokens.
    Ids take(const std::string& name, const Rows& rows, std::int64_t width) const;

private:
    void fill_in(const InputSpec& spec);
    void note_sizes(const InputSpec& spec);
    void bring_padding_inside(const InputSpec& spec);

    const TaskSpec* task_;
    Inputs arrays_;
    Rows lengths_;
    Sizes sizes_;
};

}  // namespace trbert::internal
