// What a task's specification says in one place agrees with what it says in another: the rules of
// trbert_deploy/core/spec_checks.py and decoding_checks.py. Where a check here is passed, no request, item or output
// makes a reader look for what is not there. All throw std::invalid_argument.
#pragma once

#include "core/specs.hpp"

namespace trbert::internal {

// A task can be asked and answered.
void check_task(const TaskSpec& task);

// Its items of text can be laid out.
void check_text(const TextSpec& text, const TaskSpec& task);

// The parameters of its decoding are there and refer to what the model gives. A kind that this release does not know
// is let through: the arrays are of use without it.
void check_decoding(const TaskSpec& task);

// The input is a number for each row. field: what names it.
void require_row_input(const TaskSpec& task, const std::string& name, const std::string& field);

}  // namespace trbert::internal
