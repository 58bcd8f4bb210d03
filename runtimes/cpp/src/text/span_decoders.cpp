// Decoders of spans.
#include <algorithm>

#include "core/errors.hpp"
#include "core/request_checks.hpp"
#include "text/decoders.hpp"
#include "text/spans.hpp"

namespace trbert::internal {
namespace {

// Which tokens may be part of an answer: those with offsets; where they are not known the second segment, or the whole
// row where there is but one, without the first token and the last, [CLS] and [SEP].
std::vector<bool> answerable_of(const Row& row) {
    const auto size = static_cast<std::size_t>(row.length);
    std::vector<bool> answerable(size, true);
    if (row.offsets) {
        for (std::size_t place = 0; place < size; ++place) answerable[place] = (*row.offsets)[place].has_value();
        return answerable;
    }
    if (const auto types = row.arrays.find(kTokenTypeIds); types != row.arrays.end()) {
        const Rows& values = types->second.data;
        if (std::any_of(values.begin(), values.end(), [](std::int64_t type) { return type != 0; })) {
            for (std::size_t place = 0; place < size; ++place) answerable[place] = values[place] == 1;
        }
    }
    answerable.front() = answerable.back() = false;
    return answerable;
}

// What a span is read from.
struct SpanParameters {
    explicit SpanParameters(const TaskSpec& task)
        : start(name_of(task, "start")),
          end(name_of(task, "end")),
          max_tokens(task.decoding.parameters.at("max_tokens").get<std::size_t>()) {}

    std::string start, end;
    std::size_t max_tokens;
};

Prediction span(const SpanParameters& parameters, const Row& row, const Output& output, std::size_t place) {
    const std::vector<bool> answerable = answerable_of(row);
    if (std::none_of(answerable.begin(), answerable.end(), [](bool may) { return may; })) {
        return {{"answer", ""},           {"start", 0},           {"end", 0},
                {"start_token", nullptr}, {"end_token", nullptr}, {"score", 0.0}};
    }
    const float* starts = slice(output, parameters.start, place, answerable.size()).data;
    const float* ends = slice(output, parameters.end, place, answerable.size()).data;
    const auto [first, last] = best_span(starts, ends, answerable, parameters.max_tokens);
    Prediction prediction = Prediction::object();
    if (row.offsets) {
        const Span where{(*row.offsets)[first]->start, (*row.offsets)[last]->end};
        prediction = {{"answer", characters(row.text, where)}, {"start", where.start}, {"end", where.end}};
    }
    prediction["start_token"] = first;
    prediction["end_token"] = last;
    prediction["score"] = softmax_where(starts, answerable)[first] * softmax_where(ends, answerable)[last];
    return prediction;
}

}  // namespace

Decode decode_span(const TaskSpec& task, const Labels&) {
    return [parameters = SpanParameters(task)](const Row& row, const Output& output, std::size_t place) {
        return span(parameters, row, output, place);
    };
}

Decode decode_span_with_evidence(const TaskSpec& task, const Labels&) {
    const SpanParameters parameters(task);
    const std::string type = name_of(task, "type"), evidence = name_of(task, "evidence");
    const std::string evidence_spans = name_of(task, "evidence_spans");
    const auto types = task.decoding.parameters.at("types").get<std::vector<std::string>>();
    return [=](const Row& row, const Output& output, std::size_t place) {
        const Slice kinds = slice(output, type, place);  // as many as types
        const std::string& kind = types[largest({kinds.data, kinds.data + kinds.columns})];
        Prediction prediction{{"type", kind}};
        if (kind == types.front()) prediction.update(span(parameters, row, output, place));
        else prediction["answer"] = kind;
        const Rows& ends = row.arrays.at(evidence_spans).data;
        const float* logits = slice(output, evidence, place, ends.size()).data;
        Prediction supporting = Prediction::array();
        for (std::size_t first = 0; first < ends.size(); first += 2) {
            if (ends[first] >= 0 && logits[first + 1] > logits[first]) supporting.push_back(first / 2);
        }
        prediction["supporting_sentences"] = supporting;
        return prediction;
    };
}

}  // namespace trbert::internal
