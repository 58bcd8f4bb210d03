#include "metrics.hpp"

#include <algorithm>
#include <sstream>

namespace service {
namespace {

const std::vector<double> kSeconds{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
const std::vector<double> kItems{1, 2, 4, 8, 16, 32, 64, 128};
const std::vector<double> kFractions{.05, .1, .15, .2, .25, .3, .4, .5, .6, .7, .8, .9, 1};

std::string heading(const std::string& name, const std::string& type, const std::string& help) {
    return "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
}

}  // namespace

void Histogram::add(double value) {
    const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
    ++counts_[static_cast<std::size_t>(bucket)];
    sum_ += value;
}

std::string Histogram::lines(const std::string& name, const std::string& label) const {
    const std::string braced = label.empty() ? "" : "{" + label + "}", before = label.empty() ? "" : label + ",";
    std::ostringstream text;
    std::uint64_t count = 0;
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
        text << name << "_bucket{" << before << "le=\"";
        if (bucket < bounds_.size()) text << bounds_[bucket];
        else text << "+Inf";
        text << "\"} " << (count += counts_[bucket]) << '\n';
    }
    text.precision(17);
    text << name << "_sum" << braced << ' ' << sum_ << '\n' << name << "_count" << braced << ' ' << count << '\n';
    return text.str();
}

Metrics::Metrics(std::size_t reductions)
    : seconds_(kSeconds), batch_items_(kItems), kept_(reductions, Histogram(kFractions)) {}

void Metrics::add_request(int status, double seconds) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++requests_[status];
    seconds_.add(seconds);
}

void Metrics::add_batch(std::size_t items, std::int64_t tokens) {
    const std::lock_guard<std::mutex> lock(mutex_);
    batch_items_.add(static_cast<double>(items));
    tokens_ += static_cast<std::uint64_t>(tokens);
}

void Metrics::add_kept(const std::vector<double>& fractions) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (std::size_t stage = 0; stage < std::min(fractions.size(), kept_.size()); ++stage) {
        kept_[stage].add(fractions[stage]);
    }
}

std::string Metrics::text(std::size_t queue) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string text = heading("trbert_requests_total", "counter", "Requests to /predict, by status.");
    for (const auto& [status, count] : requests_) {
        text += "trbert_requests_total{status=\"" + std::to_string(status) + "\"} " + std::to_string(count) + "\n";
    }
    text += heading("trbert_request_seconds", "histogram", "Time from a request's headers to its answer.") +
            seconds_.lines("trbert_request_seconds", "") +
            heading("trbert_batch_items", "histogram", "Items that ran together.") +
            batch_items_.lines("trbert_batch_items", "") +
            heading("trbert_tokens_total", "counter", "Tokens that entered the model.") + "trbert_tokens_total " +
            std::to_string(tokens_) + "\n" + heading("trbert_queue_items", "gauge", "Items that wait.") +
            "trbert_queue_items " + std::to_string(queue) + "\n";
    if (kept_.empty()) return text;
    text += heading("trbert_kept_fraction", "histogram", "Part of an item's tokens that a stage was given.");
    for (std::size_t stage = 0; stage < kept_.size(); ++stage) {
        text += kept_[stage].lines("trbert_kept_fraction", "stage=\"" + std::to_string(stage + 1) + "\"");
    }
    return text;
}

}  // namespace service
