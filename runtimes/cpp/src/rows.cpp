#include "rows.hpp"

#include <algorithm>

#include "errors.hpp"
#include "graphs.hpp"
#include "text/unicode.hpp"

namespace trbert::internal {
namespace {

// The ids of tokens [0, count).
void append(std::vector<std::int64_t>& ids, const std::vector<Token>& tokens, std::size_t count) {
    for (std::size_t place = 0; place < count; ++place) ids.push_back(tokens[place].id);
}

void append(Offsets& offsets, const std::vector<Token>& tokens, std::size_t count) {
    for (std::size_t place = 0; place < count; ++place) offsets.push_back(Span{tokens[place].start, tokens[place].end});
}

}  // namespace

std::int64_t Row::options() const {
    const auto& shape = arrays.at("input_ids").shape;
    return shape.size() == 2 ? shape[0] : 1;
}

RowMaker::RowMaker(const Bundle& bundle) : task_(bundle.task), limits_(bundle.limits) {
    if (!bundle.tokenizer) return;
    room_ = static_cast<std::size_t>(std::min(bundle.tokenizer->max_length, limits_.max_length));
    try {
        const auto folder = bundle.folder / std::filesystem::u8path(bundle.tokenizer->folder);
        tokenizer_ = Tokenizer::read(folder / "tokenizer.json");
    } catch (const Error& failure) {
        why_not_ = failure.what();  // token ids can still be answered
    }
}

Row RowMaker::make(Item item) const {
    if (!item.arrays.empty()) {
        Row row;
        row.length = item.arrays.at("input_ids").shape.back();
        row.arrays = std::move(item.arrays);
        row.text = std::move(item.context);
        row.offsets = std::move(item.offsets);
        row.id = std::move(item.id);
        return row;
    }
    if (!tokenizer_) throw Error(ErrorCode::input, why_not_);
    std::vector<std::vector<Token>> parts;
    for (const std::string& text : item.texts) {
        try {
            parts.push_back(tokenizer_->encode(decode_utf8(text)));
        } catch (const Error& failure) {
            throw Error(failure.code(), item.name + ": " + failure.what());
        }
    }
    Row row = task_->multiple_choice ? of_choices(item, parts) : of_pair(item, parts);
    row.id = std::move(item.id);
    return row;
}

Row RowMaker::of_pair(const Item& item, const std::vector<std::vector<Token>>& parts) const {
    static const std::vector<Token> none;
    const bool pair = parts.size() > 1, answers = task_->name == "question-answering";
    const std::vector<Token>&first = parts[0], &second = pair ? parts[1] : none;
    const std::size_t specials = pair ? 3 : 2, room = room_ > specials ? room_ - specials : 0;
    const auto [kept_first, kept_second] =
        answers ? std::make_pair(first.size(), rest(item, "question", first.size(), second.size(), room))
                : longest_first(first.size(), second.size(), room);
    Segment first_ids{tokenizer_->cls()}, second_ids;
    append(first_ids, first, kept_first);
    first_ids.push_back(tokenizer_->sep());
    if (pair) {
        append(second_ids, second, kept_second);
        second_ids.push_back(tokenizer_->sep());
    }
    Row row;
    row.length = static_cast<std::int64_t>(first_ids.size() + second_ids.size());
    if (answers) {
        row.text = decode_utf8(item.texts[1]);
        row.offsets.emplace(first_ids.size());
        append(*row.offsets, second, kept_second);
        row.offsets->emplace_back();
    } else if (task_->name == "token-classification") {
        row.text = decode_utf8(item.texts[0]);
        row.offsets.emplace(1);
        append(*row.offsets, first, kept_first);
        row.offsets->emplace_back();
    }
    row.truncated = kept_first < first.size() || kept_second < second.size();
    row.arrays = arrays({{std::move(first_ids), std::move(second_ids)}});
    return row;
}

// [CLS] context [SEP] question choice [SEP], the context cut alike for all options: they share one selection, so the
// question must end at one position.
Row RowMaker::of_choices(const Item& item, const std::vector<std::vector<Token>>& parts) const {
    const std::vector<Token>&context = parts[0], &question = parts[1];
    std::size_t longest = 0;
    for (std::size_t part = 2; part < parts.size(); ++part) longest = std::max(longest, parts[part].size());
    const std::size_t room = room_ > 3 ? room_ - 3 : 0;
    const std::size_t kept = rest(item, "question and longest choice", question.size() + longest, context.size(), room);
    Segment first_ids{tokenizer_->cls()};
    append(first_ids, context, kept);
    first_ids.push_back(tokenizer_->sep());
    std::vector<std::pair<Segment, Segment>> sequences;
    for (std::size_t part = 2; part < parts.size(); ++part) {
        Segment second_ids;
        append(second_ids, question, question.size());
        append(second_ids, parts[part], parts[part].size());
        second_ids.push_back(tokenizer_->sep());
        sequences.emplace_back(first_ids, std::move(second_ids));
    }
    Row row;
    row.arrays = arrays(sequences);
    row.arrays["question_ends"] = {{}, {static_cast<std::int64_t>(first_ids.size() + question.size())}};
    row.length = row.arrays.at("input_ids").shape.back();
    row.choices.assign(item.texts.begin() + 2, item.texts.end());
    row.truncated = kept < context.size();
    return row;
}

// How many of the context's tokens fit beside what is never cut.
std::size_t RowMaker::rest(const Item& item, const std::string& what, std::size_t taken, std::size_t wanted,
                           std::size_t room) const {
    if (room < taken + std::min<std::size_t>(wanted, 1)) {
        throw input_error(item.name + ": its " + what + " take " + std::to_string(taken) +
                              " tokens, which leaves no room for the context in a row of " + std::to_string(room_),
                          "shorten them");
    }
    return std::min(wanted, room - taken);
}

// Ids, mask and types of (first, second) segments: [tokens] each, in multiple choice [options, tokens].
Inputs RowMaker::arrays(const std::vector<std::pair<Segment, Segment>>& sequences) const {
    std::size_t width = 0;
    for (const auto& [first, second] : sequences) width = std::max(width, first.size() + second.size());
    Ids ids{{static_cast<std::int64_t>(width)}, {}};
    if (task_->multiple_choice) ids.shape.insert(ids.shape.begin(), static_cast<std::int64_t>(sequences.size()));
    Ids mask{ids.shape, {}}, types{ids.shape, {}};
    for (const auto& [first, second] : sequences) {
        const std::size_t behind = ids.data.size() + width;
        ids.data.insert(ids.data.end(), first.begin(), first.end());
        ids.data.insert(ids.data.end(), second.begin(), second.end());
        mask.data.resize(ids.data.size(), 1);
        types.data.resize(types.data.size() + first.size(), 0);
        types.data.resize(ids.data.size(), 1);
        for (Ids* array : {&ids, &mask, &types}) array->data.resize(behind, 0);
    }
    Inputs made{{"input_ids", std::move(ids)}, {"attention_mask", std::move(mask)}};
    if (limits_.token_types > 0) made["token_type_ids"] = std::move(types);
    return made;
}

std::pair<std::size_t, std::size_t> longest_first(std::size_t first, std::size_t second, std::size_t room) {
    if (first + second <= room) return {first, second};
    const std::size_t shorter = std::min({first, second, room / 2});
    return first <= second ? std::make_pair(shorter, room - shorter) : std::make_pair(room - shorter, shorter);
}

namespace {

// Copy what is left of `part` into the corner of a row of `whole` that starts at `from`, axis by axis.
void copy_corner(const Ids& part, Ids& whole, std::size_t axis, std::size_t from, std::size_t& taken) {
    if (axis == part.shape.size()) {
        whole.data[from] = part.data[taken++];
        return;
    }
    std::size_t stride = 1;
    for (std::size_t later = axis + 2; later < whole.shape.size(); ++later)
        stride *= static_cast<std::size_t>(whole.shape[later]);
    for (std::size_t index = 0; index < static_cast<std::size_t>(part.shape[axis]); ++index) {
        copy_corner(part, whole, axis + 1, from + index * stride, taken);
    }
}

}  // namespace

Inputs collate(const std::vector<const Row*>& rows) {
    Inputs batch;
    for (const auto& entry : rows.front()->arrays) {
        const std::string& name = entry.first;
        Ids whole{{static_cast<std::int64_t>(rows.size())}, {}};
        whole.shape.resize(1 + entry.second.shape.size(), 0);
        for (const Row* row : rows) {
            const auto& shape = row->arrays.at(name).shape;
            for (std::size_t axis = 0; axis < shape.size(); ++axis)
                whole.shape[axis + 1] = std::max(whole.shape[axis + 1], shape[axis]);
        }
        std::size_t per_row = 1;
        for (std::size_t axis = 1; axis < whole.shape.size(); ++axis)
            per_row *= static_cast<std::size_t>(whole.shape[axis]);
        whole.data.assign(rows.size() * per_row, is_token_input(name) || name == "question_ends" ? 0 : -1);
        for (std::size_t place = 0; place < rows.size(); ++place) {
            std::size_t taken = 0;
            copy_corner(rows[place]->arrays.at(name), whole, 0, place * per_row, taken);
        }
        batch[name] = std::move(whole);
    }
    return batch;
}

}  // namespace trbert::internal
