// Batches across requests: what waits while a batch runs makes up the next one.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <trbert/trbert.hpp>
#include <vector>

namespace service {

// A bounded queue and the one thread that answers it. One is enough: ONNX Runtime spreads a batch over every core.
class Batcher {
public:
    using Items = std::vector<trbert::Prepared>;
    using Answers = std::vector<std::string>;

    struct Limits {
        std::size_t queue = 64;            // items that may wait
        std::int64_t batch_tokens = 4096;  // of a batch; an item that is larger runs alone
    };

    // answer: as many answers as items, in their order; where it throws, each item is answered by itself, and what is
    // thrown then is thrown to those who asked for it.
    Batcher(const Limits& limits, std::function<Answers(const Items&)> answer);

    // Answers everything that waits, then stops.
    ~Batcher();

    Batcher(const Batcher&) = delete;
    Batcher& operator=(const Batcher&) = delete;

    // Wait for the answers to one request's items, which may run in several batches. Nothing where the queue has no
    // room for all of them; then none has been queued.
    std::optional<Answers> submit(const Items& items);

    // Items that wait.
    std::size_t waiting() const;

private:
    struct Entry {
        trbert::Prepared item;
        std::promise<std::string> answer;
    };

    void work();
    std::vector<Entry> next_batch();
    void run(std::vector<Entry>& batch) const;
    std::exception_ptr answer(Entry* first, std::size_t count) const;

    const Limits limits_;
    const std::function<Answers(const Items&)> answer_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Entry> queue_;
    bool closed_ = false;
    std::thread thread_;  // last: it uses all of the above
};

}  // namespace service
