// What Prometheus scrapes: counters and histograms in its text format (version 0.0.4).
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace service {

class Histogram {
public:
    // bounds: upper bounds of the buckets, ascending; one without a bound follows.
    explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

    void add(double value);

    // Lines of the text format. label: such as `stage="1"`, or empty.
    std::string lines(const std::string& name, const std::string& label) const;

private:
    std::vector<double> bounds_;
    std::vector<std::uint64_t> counts_;  // of each bucket alone
    double sum_ = 0;
};

// May be used from several threads at once.
class Metrics {
public:
    explicit Metrics(std::size_t reductions);

    void add_request(int status, double seconds);
    void add_batch(std::size_t items, std::int64_t tokens);

    // Of one item: how much of its tokens each reduction kept.
    void add_kept(const std::vector<double>& fractions);

    // queue: items that wait now.
    std::string text(std::size_t queue) const;

private:
    mutable std::mutex mutex_;
    std::map<int, std::uint64_t> requests_;  // by status
    std::uint64_t tokens_ = 0;
    Histogram seconds_, batch_items_;
    std::vector<Histogram> kept_;  // by reduction
};

}  // namespace service
