// One batch, checked once: what every mode is given. The same rules as trbert_deploy/request.py.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "trbert/trbert.hpp"

namespace trbert::internal {

using Ids = Tensor<std::int64_t>;
using Rows = std::vector<std::int64_t>;

class Request {
public:
    // Throws Error (input) that names the input, the row and the limit.
    Request(const Task& task, const Limits& limits, const Inputs& given);

    const Task& task() const { return *task_; }
    std::size_t size() const { return lengths_.size(); }

    // Real tokens of each row; in multiple choice of its longest option.
    const std::vector<std::int64_t>& lengths() const { return lengths_; }

    // N as the caller gave it; outputs over tokens are padded back to it.
    std::int64_t width() const { return width_; }

    // How many sequences a row runs: the options in multiple choice, else one.
    std::int64_t sequences_a_row() const { return sequences_; }

    // Of all inputs, those that were filled in too.
    std::vector<std::string> names() const;

    // The named input for some rows, cut to `width` tokens where it is over tokens.
    Ids take(const std::string& name, const Rows& rows, std::int64_t width) const;

private:
    void check_shapes() const;
    void check_mask();
    void check_range(const std::string& name, std::int64_t limit, const std::string& what) const;
    void check_own_input(const std::string& name) const;
    void bring_padding_inside();
    std::string row_name(std::size_t sequence) const;

    const Task* task_;
    Limits limits_;
    Inputs arrays_;
    std::vector<std::int64_t> sequence_lengths_, lengths_;
    std::int64_t width_ = 0, sequences_ = 1;
};

}  // namespace trbert::internal
