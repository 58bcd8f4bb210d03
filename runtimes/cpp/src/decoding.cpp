#include "decoding.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/unicode.hpp"

namespace trbert::internal {
namespace {

// Tokens of the longest answer span: upstream's max_answer_length.
constexpr std::size_t kMaxAnswerTokens = 30;

// What upstream's `switch` means.
constexpr const char* kHotpotTypes[] = {"span", "yes", "no"};

using Scores = std::vector<double>;

// One row of an output: its numbers, and how many there are along its own axes.
struct Slice {
    const float* data;
    std::size_t rows, columns;  // a vector is one row
};

Slice slice(const Output& output, const std::string& name, std::size_t place) {
    const Tensor<float>& whole = output.at(name);
    const std::size_t columns = static_cast<std::size_t>(whole.shape.back());
    const std::size_t rows = whole.shape.size() > 2 ? static_cast<std::size_t>(whole.shape[1]) : 1;
    return {whole.data.data() + place * rows * columns, rows, columns};
}

Scores softmax(const float* logits, std::size_t size) {
    Scores scores(logits, logits + size);
    const double most = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - most);
    for (double& score : scores) score /= sum;
    return scores;
}

// Probabilities over those that are wanted, of which there is at least one; 0 for the others.
Scores softmax_where(const float* logits, const std::vector<bool>& wanted) {
    std::vector<float> chosen;
    for (std::size_t place = 0; place < wanted.size(); ++place) {
        if (wanted[place]) chosen.push_back(logits[place]);
    }
    const Scores scores = softmax(chosen.data(), chosen.size());
    Scores spread(wanted.size(), 0.0);
    for (std::size_t place = 0, next = 0; place < wanted.size(); ++place) {
        if (wanted[place]) spread[place] = scores[next++];
    }
    return spread;
}

std::size_t best(const Scores& scores) {
    return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

std::string label(const std::vector<std::string>& labels, std::size_t index) {
    return index < labels.size() ? labels[index] : std::to_string(index);
}

std::string characters(const std::u32string& text, std::size_t start, std::size_t end) {
    std::string utf8;
    for (std::size_t place = start; place < end; ++place) append_utf8(utf8, text[place]);
    return utf8;
}

// `label`, its probability `score`, all `scores`; a single logit is itself the `score`.
Answer classes(const std::vector<std::string>& labels, const Slice& logits) {
    if (logits.columns == 1) return {{"score", logits.data[0]}};  // a regressor or reranker: nothing to choose from
    const Scores scores = softmax(logits.data, logits.columns);
    Answer named = Answer::object();
    for (std::size_t index = 0; index < scores.size(); ++index) named[label(labels, index)] = scores[index];
    return {{"label", label(labels, best(scores))}, {"score", scores[best(scores)]}, {"scores", named}};
}

// `choice` by index, its `text` where it was given as text, the probabilities `scores`.
Answer choice(const Row& row, const Slice& logits) {
    const Scores scores = softmax(logits.data, logits.columns);
    Answer answer{{"choice", best(scores)}};
    if (!row.choices.empty()) answer["text"] = row.choices[best(scores)];
    answer["scores"] = scores;
    return answer;
}

// Which tokens may be part of an answer: those with offsets; where they are not known the second segment, or the whole
// row where there is but one, without the first token and the last, [CLS] and [SEP].
std::vector<bool> answerable_of(const Row& row) {
    const auto size = static_cast<std::size_t>(row.length);
    std::vector<bool> answerable(size, true);
    if (row.offsets) {
        for (std::size_t place = 0; place < size; ++place) answerable[place] = (*row.offsets)[place].has_value();
        return answerable;
    }
    const auto types = row.arrays.find("token_type_ids");
    if (types != row.arrays.end()) {
        const auto& values = types->second.data;
        if (std::any_of(values.begin(), values.end(), [](std::int64_t type) { return type != 0; })) {
            for (std::size_t place = 0; place < size; ++place) answerable[place] = values[place] == 1;
        }
    }
    answerable.front() = answerable.back() = false;
    return answerable;
}

// Where the text is known, the `answer` with `start` and `end`, its characters in the context; `start_token` and
// `end_token` in the row (inclusive; null where the context is empty); `score`, the product of the probabilities of its
// ends.
Answer span(const Row& row, const Output& output, std::size_t place) {
    const std::vector<bool> answerable = answerable_of(row);
    if (std::none_of(answerable.begin(), answerable.end(), [](bool may) { return may; })) {
        return {{"answer", ""},           {"start", 0},           {"end", 0},
                {"start_token", nullptr}, {"end_token", nullptr}, {"score", 0.0}};
    }
    const float* starts = slice(output, "start_logits", place).data;
    const float* ends = slice(output, "end_logits", place).data;
    const auto [first, last] = best_span(starts, ends, answerable);
    Answer answer = Answer::object();
    if (row.offsets) {
        const std::size_t start = (*row.offsets)[first]->start, end = (*row.offsets)[last]->end;
        answer = {{"answer", characters(row.text, start, end)}, {"start", start}, {"end", end}};
    }
    answer["start_token"] = first;
    answer["end_token"] = last;
    answer["score"] = softmax_where(starts, answerable)[first] * softmax_where(ends, answerable)[last];
    return answer;
}

// `type`, the `answer` (a span as in question answering, or yes or no), `supporting_sentences`.
Answer hotpot(const Row& row, const Output& output, std::size_t place) {
    const Slice kinds = slice(output, "switch_logits", place);
    const auto kind = static_cast<std::size_t>(std::max_element(kinds.data, kinds.data + kinds.columns) - kinds.data);
    Answer answer{{"type", kind < 3 ? kHotpotTypes[kind] : std::to_string(kind)}};
    if (kind == 0) {
        answer.update(span(row, output, place));
    } else {
        answer["answer"] = answer["type"];
    }
    const Slice sentences = slice(output, "sent_logits", place);
    const Ids& spans = row.arrays.at("sentence_spans");
    Answer supporting = Answer::array();
    for (std::size_t index = 0; index < static_cast<std::size_t>(spans.shape[0]); ++index) {
        const float* logits = sentences.data + index * sentences.columns;
        if (spans.data[2 * index] >= 0 && logits[1] > logits[0]) supporting.push_back(index);
    }
    answer["supporting_sentences"] = supporting;
    return answer;
}

// `candidate` by index, or null where none is present; `scores`, 0 for an absent one.
Answer wikihop(const Row& row, const Output& output, std::size_t place) {
    const std::vector<std::int64_t>& positions = row.arrays.at("candidate_positions").data;
    std::vector<bool> present;
    for (const std::int64_t position : positions) present.push_back(position >= 0);
    if (std::none_of(present.begin(), present.end(), [](bool there) { return there; })) {
        return {{"candidate", nullptr}, {"scores", Scores(present.size(), 0.0)}};
    }
    const Scores scores = softmax_where(slice(output, "candidate_logits", place).data, present);
    return {{"candidate", best(scores)}, {"scores", scores}};
}

// `tokens` without special ones; where the text is not known, every token by its `position`.
Answer tokens(const std::vector<std::string>& labels, const Row& row, const Slice& logits) {
    Answer tokens = Answer::array();
    for (std::size_t position = 0; position < static_cast<std::size_t>(row.length); ++position) {
        Answer token{{"position", position}};
        if (row.offsets) {
            const std::optional<Span>& offset = (*row.offsets)[position];
            if (!offset) continue;
            token = {{"text", characters(row.text, offset->start, offset->end)},
                     {"start", offset->start},
                     {"end", offset->end}};
        }
        const Scores scores = softmax(logits.data + position * logits.columns, logits.columns);
        token["label"] = label(labels, best(scores));
        token["score"] = scores[best(scores)];
        tokens.push_back(std::move(token));
    }
    return {{"tokens", std::move(tokens)}};
}

}  // namespace

std::pair<std::size_t, std::size_t> best_span(const float* start, const float* end,
                                              const std::vector<bool>& answerable) {
    std::pair<std::size_t, std::size_t> found{0, 0};
    double most = -std::numeric_limits<double>::infinity();
    for (std::size_t first = 0; first < answerable.size(); ++first) {
        for (std::size_t last = first; last < answerable.size() && last < first + kMaxAnswerTokens && answerable[last];
             ++last) {
            const double score = static_cast<double>(start[first]) + static_cast<double>(end[last]);
            if (score > most) {
                most = score;
                found = {first, last};
            }
        }
    }
    return found;
}

Answer decode(const Task& task, const std::vector<std::string>& labels, const Row& row, const Output& output,
              std::size_t place) {
    if (task.name == "question-answering") return span(row, output, place);
    if (task.name == "hotpot") return hotpot(row, output, place);
    if (task.name == "wikihop") return wikihop(row, output, place);
    const Slice logits = slice(output, "logits", place);
    if (task.name == "multiple-choice") return choice(row, logits);
    if (task.name == "token-classification") return tokens(labels, row, logits);
    return classes(labels, logits);
}

}  // namespace trbert::internal
