#include "service.hpp"

#include <algorithm>
#include <boost/algorithm/string/case_conv.hpp>
#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>
#include <thread>

#include "body.hpp"

namespace service {
namespace {

constexpr const char *kPredict = "/predict", *kHealth = "/healthz", *kMetrics = "/metrics";

// The media type without its parameters.
std::string type_of(const Head& head) {
    const std::string type = head.content_type.substr(0, head.content_type.find_first_of("; \t"));
    return boost::algorithm::to_lower_copy(type);
}

bool holds_lines(const Head& head) {
    const std::string type = type_of(head);
    return type == kJsonLines || type == "application/jsonl" || type == "application/jsonlines";
}

// What is added to a complaint about a body that is JSON lines by another name.
std::string hint(const std::string& body, bool lines) {
    const std::size_t end = body.find('\n');
    const bool several = body.find_first_not_of(" \t\r\n", end) != std::string::npos;
    if (lines || !several || !nlohmann::json::accept(body.substr(0, end))) return "";
    return std::string(". Several JSON objects, a line each, are sent with Content-Type: ") + kJsonLines;
}

// The refusal that an exception amounts to.
Refusal refusal_of(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const Refusal& refusal) {
        return refusal;
    } catch (const trbert::Error& error) {
        return {error.code() == trbert::ErrorCode::input ? 400 : 500, error.what()};
    } catch (const std::exception& error) {
        return {500, error.what()};
    }
}

}  // namespace

Service::Service(const Options& options)
    : options_(options),
      keys_(options.api_key_file),
      engine_(options.bundle, options.engine),
      metrics_(engine_.description().reductions),
      batcher_(options.limits, [this](const Batcher::Items& items) { return run(items); }),
      workers_(std::max(2U, std::thread::hardware_concurrency())) {
    if (options.engine.mode != trbert::Mode::dense) engine_.verify().require_passed();
}

void Service::admit(const Head& head) const {
    const bool get = head.method == "GET" || head.method == "HEAD";
    const bool known =
        head.path == kPredict ? head.method == "POST" : get && (head.path == kHealth || head.path == kMetrics);
    if (!known) throw Refusal(404, "there are POST /predict, GET /healthz and GET /metrics");
    if (head.path == kHealth) return;
    if (!keys_.admit(head.authorization)) throw Refusal(401, "an API key is needed: Authorization: Bearer KEY");
    if (type_of(head) == "multipart/form-data") throw Refusal(400, "the body is a form: give a JSON object");
}

void Service::answer(const Head& head, std::string body, Done done) {
    if (head.path == kHealth) {
        if (stopping_) return done(reply_to({503, "stopping"}));
        const nlohmann::json health{{"status", "ok"}, {"version", trbert::version()}};
        return done({200, kJson, health.dump() + "\n", {}});
    }
    if (head.path == kMetrics) return done({200, "text/plain; version=0.0.4", metrics_.text(batcher_.waiting()), {}});
    boost::asio::post(workers_, [this, lines = holds_lines(head), body = std::move(body), done = std::move(done)] {
        predict(body, lines, done);
    });
}

void Service::finished(const Head& head, int status, Clock::duration taken) {
    if (head.path == kPredict) metrics_.add_request(status, std::chrono::duration<double>(taken).count());
}

void Service::predict(const std::string& body, bool lines, const Done& done) {
    try {
        const auto answered = [done, lines](const Batcher::Answers& answers, const std::exception_ptr& failure) {
            if (failure) return done(reply_to(refusal_of(failure)));
            std::string text;
            for (const std::string& answer : answers) text += answer + "\n";
            done({200, lines ? kJsonLines : kJson, text, {}});
        };
        if (!batcher_.submit(prepare(body, lines), answered)) throw Refusal(429, kTooMany);
    } catch (...) {
        const Refusal refusal = refusal_of(std::current_exception());
        const bool body_is_wrong = refusal.status == 400 || refusal.status == 413;
        done(reply_to({refusal.status, refusal.what() + (body_is_wrong ? hint(body, lines) : "")}));
    }
}

// The items of a body, tokenized.
Batcher::Items Service::prepare(const std::string& body, bool lines) const {
    const std::vector<std::string> items = items_of(body, lines);
    if (items.empty()) throw Refusal(400, "the body holds no item: give a JSON object a line");
    Batcher::Items prepared;
    for (const std::string& item : items) {
        if (item.size() > options_.max_item_bytes) {
            throw Refusal(413, "an item is larger than " + std::to_string(options_.max_item_bytes) + " bytes");
        }
        if (prepared.size() == options_.limits.queue) {
            throw Refusal(413, "the request has more than " + std::to_string(options_.limits.queue) + " items");
        }
        prepared.push_back(engine_.prepare(item));
    }
    return prepared;
}

// One batch, and what it says of the tokens kept.
Batcher::Answers Service::run(const Batcher::Items& items) {
    Batcher::Answers answers = engine_.answer(items);
    std::int64_t tokens = 0;
    for (std::size_t place = 0; place < items.size(); ++place) {
        tokens += items[place].tokens;
        const auto facts = nlohmann::json::parse(answers[place]);
        std::vector<double> fractions;
        for (const auto& kept : facts.at("kept")) {
            fractions.push_back(kept.get<double>() / facts.at("token_count").get<double>());
        }
        metrics_.add_kept(fractions);
    }
    metrics_.add_batch(items.size(), tokens);
    return answers;
}

}  // namespace service
