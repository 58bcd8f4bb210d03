#include "text/spans.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace trbert::internal {

std::vector<double> softmax(const float* logits, std::size_t size) {
    std::vector<double> scores(logits, logits + size);
    const double most = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - most);
    for (double& score : scores) score /= sum;
    return scores;
}

std::vector<double> softmax_where(const float* logits, const std::vector<bool>& wanted) {
    std::vector<float> chosen;
    for (std::size_t place = 0; place < wanted.size(); ++place) {
        if (wanted[place]) chosen.push_back(logits[place]);
    }
    const std::vector<double> scores = softmax(chosen.data(), chosen.size());
    std::vector<double> spread(wanted.size(), 0.0);
    for (std::size_t place = 0, next = 0; place < wanted.size(); ++place) {
        if (wanted[place]) spread[place] = scores[next++];
    }
    return spread;
}

std::size_t largest(const std::vector<double>& scores) {
    return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

std::pair<std::size_t, std::size_t> best_span(const float* start, const float* end, const std::vector<bool>& answerable,
                                              std::size_t max_tokens) {
    std::pair<std::size_t, std::size_t> found{0, 0};
    double most = -std::numeric_limits<double>::infinity();
    for (std::size_t first = 0; first < answerable.size(); ++first) {
        const std::size_t behind = std::min(answerable.size() - first, max_tokens) + first;
        for (std::size_t last = first; last < behind && answerable[last]; ++last) {
            const double score = static_cast<double>(start[first]) + static_cast<double>(end[last]);
            if (score > most) {
                most = score;
                found = {first, last};
            }
        }
    }
    return found;
}

}  // namespace trbert::internal
