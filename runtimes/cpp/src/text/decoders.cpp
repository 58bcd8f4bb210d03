#include "text/decoders.hpp"

#include <algorithm>
#include <cmath>

#include "core/errors.hpp"
#include "text/spans.hpp"
#include "text/unicode.hpp"

namespace trbert::internal {
namespace {

std::string label(const Labels& labels, std::size_t index) {
    return index < labels.size() ? labels[index] : std::to_string(index);
}

Prediction named_scores(const Labels& labels, const Scores& scores) {
    Prediction named = Prediction::object();
    for (std::size_t index = 0; index < scores.size(); ++index) named[label(labels, index)] = scores[index];
    return named;
}

// Those whose score is at least the threshold.
Prediction sigmoid_classes(const Labels& labels, const Slice& logits, double threshold) {
    Scores scores(logits.data, logits.data + logits.columns);
    for (double& score : scores) score = 1.0 / (1.0 + std::exp(-score));
    const Prediction named = named_scores(labels, scores);
    Prediction chosen = Prediction::array();
    for (const auto& [name, score] : named.items()) {
        if (score.get<double>() >= threshold) chosen.push_back(name);
    }
    return {{"labels", chosen}, {"scores", named}};
}

Prediction softmax_classes(const Labels& labels, const Slice& logits) {
    const Scores scores = softmax(logits.data, logits.columns);
    const std::size_t best = largest(scores);
    return {{"label", label(labels, best)}, {"score", scores[best]}, {"scores", named_scores(labels, scores)}};
}

Prediction plain_classes(const Labels& labels, const Slice& logits) {
    Prediction prediction = Prediction::object();
    if (logits.columns == 1) prediction["score"] = logits.data[0];  // a regressor or reranker
    else prediction["scores"] = named_scores(labels, Scores(logits.data, logits.data + logits.columns));
    return prediction;
}

}  // namespace

std::string name_of(const TaskSpec& task, const char* parameter) { return task.decoding.parameters.at(parameter); }

Slice slice(const Output& output, const std::string& name, std::size_t place, std::size_t least) {
    const Tensor<float>& whole = output.at(name);
    const auto per_row = static_cast<std::size_t>(count_of(whole.shape, 1));
    if (per_row < std::max<std::size_t>(least, 1))
        throw error(ErrorCode::runtime, "a graph gave too few numbers of " + name);
    return {whole.data.data() + place * per_row, static_cast<std::size_t>(whole.shape.back())};
}

std::string characters(const std::u32string& text, const Span& span) {
    std::string utf8;
    for (std::size_t place = span.start; place < span.end; ++place) append_utf8(utf8, text[place]);
    return utf8;
}

Decode decode_classes(const TaskSpec& task, const Labels& labels) {
    const std::string output = name_of(task, "output"), activation = name_of(task, "activation");
    if (activation == "sigmoid") {
        const double threshold = number(task.decoding.parameters.at("threshold"));
        return [=](const Row&, const Output& outputs, std::size_t place) {
            return sigmoid_classes(labels, slice(outputs, output, place), threshold);
        };
    }
    const bool chosen = activation == "softmax";  // else "identity"
    return [=](const Row&, const Output& outputs, std::size_t place) {
        const Slice logits = slice(outputs, output, place);
        return chosen ? softmax_classes(labels, logits) : plain_classes(labels, logits);
    };
}

Decode decode_choices(const TaskSpec& task, const Labels&) {
    const std::string output = name_of(task, "output");
    return [=](const Row& row, const Output& outputs, std::size_t place) {
        const Slice logits = slice(outputs, output, place);
        const Scores scores = softmax(logits.data, logits.columns);
        const std::size_t best = largest(scores);
        Prediction prediction{{"choice", best}};
        if (best < row.choices.size()) prediction["text"] = row.choices[best];
        prediction["scores"] = scores;
        return prediction;
    };
}

Decode decode_candidates(const TaskSpec& task, const Labels&) {
    const std::string output = name_of(task, "output"), positions = name_of(task, "positions");
    return [=](const Row& row, const Output& outputs, std::size_t place) -> Prediction {
        std::vector<bool> present;
        for (const std::int64_t position : row.arrays.at(positions).data) present.push_back(position >= 0);
        if (std::find(present.begin(), present.end(), true) == present.end())
            return {{"candidate", nullptr}, {"scores", Scores(present.size(), 0.0)}};
        const Scores scores = softmax_where(slice(outputs, output, place, present.size()).data, present);
        return {{"candidate", largest(scores)}, {"scores", scores}};
    };
}

Decode decode_tokens(const TaskSpec& task, const Labels& labels) {
    return [labels, name = name_of(task, "output")](const Row& row, const Output& outputs,
                                                    std::size_t place) -> Prediction {
        const Slice logits = slice(outputs, name, place);  // as wide as the batch
        Prediction tokens = Prediction::array();
        for (std::size_t position = 0; position < static_cast<std::size_t>(row.length); ++position) {
            Prediction token{{"position", position}};
            if (row.offsets) {
                const std::optional<Span>& offset = (*row.offsets)[position];
                if (!offset) continue;
                token = {{"text", characters(row.text, *offset)}, {"start", offset->start}, {"end", offset->end}};
            }
            const Scores scores = softmax(logits.data + position * logits.columns, logits.columns);
            token["label"] = label(labels, largest(scores));
            token["score"] = scores[largest(scores)];
            tokens.push_back(std::move(token));
        }
        return {{"tokens", std::move(tokens)}};
    };
}

}  // namespace trbert::internal
