// Batches across requests: what waits while a batch runs makes up the next one.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
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
    // What became of a request: its answers, or why there are none.
    using Done = std::function<void(Answers, std::exception_ptr)>;

    struct Limits {
        std::size_t queue = 64;            // items that may wait
        std::int64_t batch_tokens = 4096;  // of a batch; an item that is larger runs alone
    };

    // answer: as many answers as items, in their order; where it throws, each item is answered by itself, and what is
    // thrown then is told to those who asked for it.
    Batcher(const Limits& limits, std::function<Answers(const Items&)> answer);

    // Answers everything that waits, then stops.
    ~Batcher();

    Batcher(const Batcher&) = delete;
    Batcher& operator=(const Batcher&) = delete;

    // Queue one request's items, one at least, which may run in several batches. `done` is called on the batches'
    // thread when all have their answers; it may not throw. False where the queue has no room for all of them: none is
    // queued.
    bool submit(const Items& items, Done done);

    // Items that wait.
    std::size_t waiting() const;

private:
    struct Request {
        Answers answers;
        std::exception_ptr failure;
        std::size_t left;  // items without an answer
        Done done;
    };

    struct Entry {
        trbert::Prepared item;
        std::shared_ptr<Request> request;
        std::size_t place;  // in it
    };

    void work();
    std::vector<Entry> next_batch();
    void run(const std::vector<Entry>& batch) const;
    std::exception_ptr answer(const Entry* first, std::size_t count) const;
    static void finish(const Entry& entry, std::string answer, const std::exception_ptr& failure);

    const Limits limits_;
    const std::function<Answers(const Items&)> answer_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Entry> queue_;
    bool closed_ = false;
    std::thread thread_;  // last: it uses all of the above
};

}  // namespace service
