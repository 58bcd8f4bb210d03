#include "tasks.hpp"

#include <algorithm>

namespace trbert::internal {

const TaskOutput* Task::output(const std::string& wanted) const {
    const auto found =
        std::find_if(outputs.begin(), outputs.end(), [&](const auto& output) { return output.name == wanted; });
    return found == outputs.end() ? nullptr : &*found;
}

const Task* task_named(const std::string& name) {
    static const TaskOutput start{"start_logits", true, kNoLogit}, end{"end_logits", true, kNoLogit};
    static const std::vector<Task> tasks{
        {"sequence-classification", {{"logits"}}},
        {"multiple-choice", {{"logits"}}, {"question_ends"}, false, true},
        {"question-answering", {start, end}, {}, true},
        {"hotpot", {start, end, {"switch_logits"}, {"sent_logits"}}, {"sentence_spans"}, true},
        {"wikihop", {{"candidate_logits"}}, {"candidate_positions"}, true},
        {"token-classification", {{"logits", true}}, {}, true},
    };
    const auto found = std::find_if(tasks.begin(), tasks.end(), [&](const Task& task) { return task.name == name; });
    return found == tasks.end() ? nullptr : &*found;
}

}  // namespace trbert::internal
