#include "text/layout.hpp"

#include <algorithm>
#include <map>

#include "core/errors.hpp"

namespace trbert::internal {
namespace {

using Counts = std::map<std::string, std::size_t>;  // by key of a part

bool is_special(const std::string& token) { return token == kCls || token == kSep; }

const TokenPart* find(const std::vector<TokenPart>& parts, const std::string& key) {
    const auto found = std::find_if(parts.begin(), parts.end(), [&](const TokenPart& part) { return part.key == key; });
    return found == parts.end() ? nullptr : &*found;
}

// Those whose parts the item has.
std::vector<const SegmentSpec*> segments_of(const TextSpec& text, const std::vector<TokenPart>& parts) {
    std::vector<const SegmentSpec*> segments;
    for (const SegmentSpec& segment : text.segments) {
        const auto has = [&](const std::string& token) { return is_special(token) || find(parts, token) != nullptr; };
        if (std::all_of(segment.tokens.begin(), segment.tokens.end(), has)) segments.push_back(&segment);
    }
    return segments;
}

// Of its longest text.
std::size_t length_of(const TokenPart& part) {
    std::size_t longest = 0;
    for (const auto& tokens : part.texts) longest = std::max(longest, tokens.size());
    return longest;
}

// How many tokens of each part stand in a row where one alone is cut. free: tokens beside the special ones.
Counts cut_one(const TextSpec& text, const std::vector<TokenPart>& parts, std::size_t free, std::size_t room,
               const std::string& name) {
    Counts kept;
    std::size_t taken = 0, wanted = 0;
    std::string what;
    for (const TokenPart& part : parts) {
        if (part.key == text.cut) {
            wanted = length_of(part);
            continue;
        }
        taken += kept[part.key] = length_of(part);
        std::string called = part.key;
        if (part.key == text.each)
            called = "longest " + (called.back() == 's' ? called.substr(0, called.size() - 1) : called);
        what += (what.empty() ? "" : " and ") + called;
    }
    if (!what.empty() && free < taken + std::min<std::size_t>(wanted, 1)) {
        throw input_error(name + ": its " + what + " take " + std::to_string(taken) +
                              " tokens, which leaves no room for the " + *text.cut + " in a row of " +
                              std::to_string(room),
                          "shorten them");
    }
    kept[*text.cut] = std::min(wanted, free > taken ? free - taken : 0);
    return kept;
}

Counts cut_longest(const std::vector<TokenPart>& parts, std::size_t free) {
    const auto [first, second] = longest_first(length_of(parts[0]), parts.size() > 1 ? length_of(parts[1]) : 0, free);
    Counts kept{{parts[0].key, first}};
    if (parts.size() > 1) kept[parts[1].key] = second;
    return kept;
}

void append(TokenSequence& sequence, std::int64_t id, std::int64_t type) {
    sequence.ids.push_back(id);
    sequence.types.push_back(type);
}

}  // namespace

std::vector<TokenSequence> lay_out(const TextSpec& text, const std::vector<TokenPart>& parts, const Specials& specials,
                                   std::size_t room, const std::string& name) {
    const std::vector<const SegmentSpec*> segments = segments_of(text, parts);
    std::size_t special = 0;
    for (const SegmentSpec* segment : segments)
        special += static_cast<std::size_t>(std::count_if(segment->tokens.begin(), segment->tokens.end(), is_special));
    const std::size_t free = room > special ? room - special : 0;
    const bool one = text.truncation == TextSpec::Truncation::only;
    const Counts kept = one ? cut_one(text, parts, free, room, name) : cut_longest(parts, free);
    std::vector<TokenSequence> sequences(text.each ? find(parts, *text.each)->texts.size() : 1);
    for (std::size_t member = 0; member < sequences.size(); ++member) {
        TokenSequence& sequence = sequences[member];
        for (const SegmentSpec* segment : segments) {
            for (const std::string& token : segment->tokens) {
                if (is_special(token)) {
                    append(sequence, token == kCls ? specials.cls : specials.sep, segment->token_type);
                    continue;
                }
                const TokenPart* part = find(parts, token);
                const std::size_t own = token == text.each ? member : 0;
                const std::size_t count = std::min(part->texts[own].size(), kept.at(token));
                sequence.placed.push_back({part, own, count, sequence.ids.size()});
                for (std::size_t place = 0; place < count; ++place)
                    append(sequence, part->texts[own][place].id, segment->token_type);
            }
        }
    }
    return sequences;
}

std::pair<std::size_t, std::size_t> longest_first(std::size_t first, std::size_t second, std::size_t room) {
    if (first + second <= room) return {first, second};
    const std::size_t shorter = std::min({first, second, room / 2});
    return first <= second ? std::make_pair(shorter, room - shorter) : std::make_pair(room - shorter, shorter);
}

}  // namespace trbert::internal
