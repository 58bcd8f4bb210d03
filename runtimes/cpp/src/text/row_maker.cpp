#include "text/row_maker.hpp"

#include <algorithm>

#include "core/errors.hpp"
#include "core/request_checks.hpp"
#include "text/unicode.hpp"

namespace trbert::internal {
namespace {

// What Python strips off a text: white space, and separators of files, groups, records and units.
bool is_blank(char32_t code) { return is_white_space(code) || (code >= 0x1C && code <= 0x1F); }

// For each token the characters of the part that answers count in.
Offsets offsets_of(const std::string& key, const TokenSequence& sequence) {
    Offsets offsets(sequence.ids.size());
    for (const Placed& placed : sequence.placed) {
        if (placed.part->key != key) continue;
        const std::vector<Token>& tokens = placed.part->texts[placed.member];
        for (std::size_t place = 0; place < placed.tokens; ++place)
            offsets[placed.start + place] = Span{tokens[place].start, tokens[place].end};
    }
    return offsets;
}

const TextPart& part_of(const Item& item, const std::string& key) {
    return *std::find_if(item.parts.begin(), item.parts.end(), [&](const TextPart& part) { return part.key == key; });
}

const Placed& placed_part(const TokenSequence& sequence, const std::string& key) {
    return *std::find_if(sequence.placed.begin(), sequence.placed.end(),
                         [&](const Placed& placed) { return placed.part->key == key; });
}

}  // namespace

RowMaker::RowMaker(const Bundle& bundle) : task_(bundle.task) {
    if (!bundle.tokenizer) return;
    room_ = static_cast<std::size_t>(std::min(bundle.tokenizer->max_length, task_.max_length));
    try {
        const auto folder = bundle.folder / std::filesystem::u8path(bundle.tokenizer->folder);
        tokenizer_ = Tokenizer::read(folder / "tokenizer.json");
    } catch (const Error& failure) {
        why_not_ = failure.what();  // token ids can still be answered
    }
}

Row RowMaker::make(Item item) const {
    Row row;
    if (item.arrays.empty()) {
        row = row_of(item);
    } else {
        row.length = item.arrays.at(kInputIds).shape.back();
        row.arrays = std::move(item.arrays);
        row.text = std::move(item.context);
        row.offsets = std::move(item.offsets);
    }
    row.id = std::move(item.id);
    row.name = std::move(item.name);
    return row;
}

std::vector<TokenPart> RowMaker::tokenized(const Item& item, bool& empty) const {
    if (!tokenizer_) throw Error(ErrorCode::input, why_not_);
    std::vector<TokenPart> parts;
    for (const TextPart& part : item.parts) {
        parts.push_back({part.key, {}});
        for (const std::string& text : part.texts) {
            try {
                const std::u32string characters = decode_utf8(text);
                parts.back().texts.push_back(tokenizer_->encode(characters));
                const bool blank = std::all_of(characters.begin(), characters.end(), is_blank);
                empty = empty || blank || parts.back().texts.back().empty();
            } catch (const Error& failure) {
                throw Error(failure.code(), item.name + ": " + failure.what());
            }
        }
    }
    return parts;
}

// The manifest was checked: whatever its text names is a part of every form.
Row RowMaker::row_of(const Item& item) const {
    const TextSpec& text = *task_.text;
    Row row;
    const std::vector<TokenPart> parts = tokenized(item, row.empty);
    const auto sequences = lay_out(text, parts, {tokenizer_->cls(), tokenizer_->sep()}, room_, item.name);
    row.arrays = arrays_of(sequences);
    row.length = row.arrays.at(kInputIds).shape.back();
    for (const auto& [input, key] : text.ends) {
        const Placed& placed = placed_part(sequences.front(), key);
        row.arrays[input] = {{}, {static_cast<std::int64_t>(placed.start + placed.tokens)}};
    }
    if (text.offsets) {
        row.text = decode_utf8(part_of(item, *text.offsets).texts.front());
        row.offsets = offsets_of(*text.offsets, sequences.front());
    }
    if (text.each) row.choices = part_of(item, *text.each).texts;
    for (const TokenSequence& sequence : sequences) {
        for (const Placed& placed : sequence.placed)
            row.truncated = row.truncated || placed.tokens < placed.part->texts[placed.member].size();
    }
    return row;
}

// Ids, mask and types of sequences: [tokens] each, where a row holds several [sequences, tokens]. What else a task
// takes over tokens is filled in with its default.
Inputs RowMaker::arrays_of(const std::vector<TokenSequence>& sequences) const {
    std::size_t width = 0;
    for (const TokenSequence& sequence : sequences) width = std::max(width, sequence.ids.size());
    Ids ids{{static_cast<std::int64_t>(width)}, {}};
    if (task_.sequences_axis) ids.shape.insert(ids.shape.begin(), static_cast<std::int64_t>(sequences.size()));
    Ids mask{ids.shape, {}}, types{ids.shape, {}};
    const InputSpec* of_types = task_.input(kTokenTypeIds);
    for (const TokenSequence& sequence : sequences) {
        const std::size_t behind = ids.data.size() + width;
        ids.data.insert(ids.data.end(), sequence.ids.begin(), sequence.ids.end());
        types.data.insert(types.data.end(), sequence.types.begin(), sequence.types.end());
        mask.data.resize(ids.data.size(), 1);
        ids.data.resize(behind, task_.input(kInputIds)->padding);
        mask.data.resize(behind, task_.input(kAttentionMask)->padding);
        types.data.resize(behind, of_types ? of_types->padding : 0);
    }
    Inputs made{{kInputIds, std::move(ids)}, {kAttentionMask, std::move(mask)}};
    if (of_types != nullptr) made[kTokenTypeIds] = std::move(types);
    return made;
}

}  // namespace trbert::internal
