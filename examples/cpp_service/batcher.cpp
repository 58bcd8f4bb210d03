#include "batcher.hpp"

#include <stdexcept>

namespace service {

Batcher::Batcher(const Limits& limits, std::function<Answers(const Items&)> answer)
    : limits_(limits), answer_(std::move(answer)), thread_([this] { work(); }) {}

Batcher::~Batcher() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        closed_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

bool Batcher::submit(const Items& items, Done done) {
    const auto request =
        std::make_shared<Request>(Request{Answers(items.size()), nullptr, items.size(), std::move(done)});
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (queue_.size() + items.size() > limits_.queue) return false;
        for (std::size_t place = 0; place < items.size(); ++place) queue_.push_back({items[place], request, place});
    }
    changed_.notify_one();
    return true;
}

std::size_t Batcher::waiting() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return queue_.size();
}

void Batcher::work() {
    for (std::vector<Entry> batch = next_batch(); !batch.empty(); batch = next_batch()) run(batch);
}

// The items that came first, as many as fit; empty once closed and answered.
std::vector<Batcher::Entry> Batcher::next_batch() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || !queue_.empty(); });
    std::vector<Entry> batch;
    std::int64_t tokens = 0;
    while (!queue_.empty() && (batch.empty() || tokens + queue_.front().item.tokens <= limits_.batch_tokens)) {
        tokens += queue_.front().item.tokens;
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
    }
    return batch;
}

void Batcher::run(const std::vector<Entry>& batch) const {
    const std::exception_ptr together = answer(batch.data(), batch.size());
    if (!together) return;
    for (const Entry& entry : batch) {  // one of them made it fail: the others are answered without it
        const std::exception_ptr alone = batch.size() == 1 ? together : answer(&entry, 1);
        if (alone) finish(entry, {}, alone);
    }
}

// Answer items together. Returns what was thrown; nothing where they have their answers.
std::exception_ptr Batcher::answer(const Entry* first, std::size_t count) const {
    Items items;
    for (const Entry* entry = first; entry != first + count; ++entry) items.push_back(entry->item);
    Answers answers;
    try {
        answers = answer_(items);
        if (answers.size() != count) throw std::logic_error("a batch has another number of answers than items");
    } catch (...) {
        return std::current_exception();
    }
    for (std::size_t place = 0; place < count; ++place) finish(first[place], std::move(answers[place]), nullptr);
    return nullptr;
}

void Batcher::finish(const Entry& entry, std::string answer, const std::exception_ptr& failure) {
    Request& request = *entry.request;
    request.answers[entry.place] = std::move(answer);
    if (failure) request.failure = failure;
    if (--request.left == 0) request.done(std::move(request.answers), request.failure);
}

}  // namespace service
