// What the server and the service behind it say to each other: headers in, a reply out.
#pragma once

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace service {

using Clock = std::chrono::steady_clock;

constexpr const char *kJson = "application/json", *kJsonLines = "application/x-ndjson";
constexpr const char* kTooMany = "too many requests wait: try again later";

// Of a request's headers those that anybody asks for. One that came several times holds all values, separated by
// commas.
struct Head {
    std::string method, path;  // the target without its query
    std::string content_type, content_encoding, authorization;
};

struct Reply {
    int status = 200;
    std::string type, body;
    std::vector<std::pair<std::string, std::string>> headers;  // further ones
};

// Why a request is not answered.
struct Refusal : std::runtime_error {
    Refusal(int code, const std::string& message) : std::runtime_error(message), status(code) {}
    int status;
};

// Of a body. most: bytes.
Refusal too_large(std::size_t most);

// {"error": "..."}, with the headers that belong to its status.
Reply reply_to(const Refusal& refusal);

// As HTTP/1.1 sends it; to HEAD without the body.
std::string text_of(const Reply& reply, bool keep_alive, bool with_body);

// Answers requests. The server calls it from one thread.
class Handler {
public:
    using Done = std::function<void(Reply)>;

    virtual ~Handler() = default;

    // Throws Refusal where the headers alone say that there will be no answer: no body is kept then.
    virtual void admit(const Head& head) const = 0;

    // Answer a request that was admitted. `done` is called once, now or later, on any thread.
    virtual void answer(const Head& head, std::string body, Done done) = 0;

    // What came of a request, and the time from its headers to its answer.
    virtual void finished(const Head& head, int status, Clock::duration taken) = 0;
};

}  // namespace service
