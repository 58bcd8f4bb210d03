#include <algorithm>
#include <optional>
#include <set>

#include "bundle/check_task.hpp"
#include "bundle/read_specs.hpp"
#include "core/request_checks.hpp"

namespace trbert::internal {
namespace {

using Names = std::vector<std::string>;

// The parts of a segment, without special tokens.
Names parts_of(const SegmentSpec& segment) {
    Names parts;
    for (const std::string& token : segment.tokens)
        if (token != kCls && token != kSep) parts.push_back(token);
    return parts;
}

// The parts of all segments of a row of that form, as often as they stand there.
Names placed(const TextSpec& text, const std::set<std::string>& form) {
    Names all;
    for (const SegmentSpec& segment : text.segments) {
        const Names parts = parts_of(segment);
        const bool stands =
            std::all_of(parts.begin(), parts.end(), [&](const std::string& part) { return form.count(part) > 0; });
        if (stands) all.insert(all.end(), parts.begin(), parts.end());
    }
    return all;
}

// An item of these keys can be laid out; see text/layout.hpp.
void check_form(const TextSpec& text, const Names& keys) {
    std::string named;
    for (const std::string& key : keys) named += (named.empty() ? "" : ", ") + key;
    const std::set<std::string> form(keys.begin(), keys.end());
    const bool plain = form.size() == keys.size() && !form.count(kCls) && !form.count(kSep) && !form.count(kInputIds);
    require(plain, "text: {" + named + "} is no form: its keys are none of a row's own, each once");
    Names found = placed(text, form);
    std::sort(found.begin(), found.end());
    require(std::equal(found.begin(), found.end(), form.begin(), form.end()),
            "text: segments do not place each part of {" + named + "} once");
    const bool only = text.truncation == TextSpec::Truncation::only;
    require(only || keys.size() <= 2, "text: longest_first cuts one part or two, not {" + named + "}");
    Names needed;
    for (const std::optional<std::string>& part : {text.cut, text.each, text.offsets})
        if (part) needed.push_back(*part);
    for (const auto& end : text.ends) needed.push_back(end.second);
    for (const std::string& part : needed)
        require(form.count(part) > 0, "text: an item of {" + named + "} has no " + part);
}

}  // namespace

void check_text(const TextSpec& text, const TaskSpec& task) {
    const bool keys =
        std::none_of(text.forms.begin(), text.forms.end(), [](const Names& form) { return form.empty(); });
    require(!text.forms.empty() && keys, "text: forms must name the keys of at least one item");
    require(text.truncation != TextSpec::Truncation::only || text.cut, "text: truncation only needs cut");
    for (const Names& form : text.forms) check_form(text, form);
    require(!text.each || task.sequences_axis,
            "text: each makes a sequence of each member, but the rows are one sequence");
    require(!text.offsets || text.offsets != text.each, "text: offsets cannot count in the members of each");
    for (const auto& end : text.ends) require_row_input(task, end.first, "text: ends");
    for (const InputSpec& spec : task.inputs) {
        require(spec.per_token() || spec.otherwise || text.ends.count(spec.name) > 0,
                "text: nothing of an item says " + spec.name);
    }
}

}  // namespace trbert::internal
