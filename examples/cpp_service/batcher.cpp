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

std::optional<Batcher::Answers> Batcher::submit(const Items& items) {
    std::vector<std::future<std::string>> pending;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (queue_.size() + items.size() > limits_.queue) return std::nullopt;
        for (const trbert::Prepared& item : items) {
            queue_.push_back({item, {}});
            pending.push_back(queue_.back().answer.get_future());
        }
    }
    changed_.notify_one();
    Answers answers;
    for (auto& one : pending) answers.push_back(one.get());
    return answers;
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

void Batcher::run(std::vector<Entry>& batch) const {
    if (!answer(batch.data(), batch.size())) return;
    for (Entry& entry : batch) {  // one of them made it fail: the others are answered without it
        if (const std::exception_ptr failure = answer(&entry, 1)) entry.answer.set_exception(failure);
    }
}

// Answer items together. Returns what was thrown; nothing where they have their answers.
std::exception_ptr Batcher::answer(Entry* first, std::size_t count) const {
    Items items;
    for (Entry* entry = first; entry != first + count; ++entry) items.push_back(entry->item);
    try {
        Answers answers = answer_(items);
        if (answers.size() != count) throw std::logic_error("a batch has another number of answers than items");
        for (std::size_t place = 0; place < count; ++place) first[place].answer.set_value(std::move(answers[place]));
        return nullptr;
    } catch (...) {
        return std::current_exception();
    }
}

}  // namespace service
