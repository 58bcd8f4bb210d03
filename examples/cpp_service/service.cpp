#include "service.hpp"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "body.hpp"

namespace service {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char *kJson = "application/json", *kJsonLines = "application/x-ndjson";
constexpr const char* kTooMany = "too many requests wait: try again later";
// For a body that nobody wants any more, and for any once the service stops.
constexpr std::chrono::seconds kGrace{1};

// A request that is refused.
struct Refusal {
    int status;
    std::string message;
};

void refuse(httplib::Response& response, int status, const std::string& message, bool close = false) {
    const nlohmann::json body{{"error", message}};
    // What a message quotes of a request may be no UTF-8.
    const std::string text = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    response.status = status;
    if (!close) return response.set_content(text, kJson);
    // cpp-httplib closes the connection after an answer only if that fails: this one does, once it is written.
    response.set_header("Connection", "close");
    response.set_header("Content-Length", std::to_string(text.size()));
    response.set_content_provider(kJson, [text](std::size_t, httplib::DataSink& sink) {
        sink.write(text.data(), text.size());
        return false;
    });
}

bool holds_lines(const httplib::Request& request) {
    std::string type = request.get_header_value("Content-Type");
    type.erase(std::min(type.find_first_of("; \t"), type.size()));
    std::transform(type.begin(), type.end(), type.begin(), [](unsigned char letter) { return std::tolower(letter); });
    return type == kJsonLines || type == "application/jsonl" || type == "application/jsonlines";
}

// What is added to a complaint about a body that is JSON lines by another name.
std::string hint(const std::string& body, bool lines) {
    const std::size_t end = body.find('\n');
    const bool several = body.find_first_not_of(" \t\r\n", end) != std::string::npos;
    if (lines || !several || !nlohmann::json::accept(body.substr(0, end))) return "";
    return std::string(". Several JSON objects, a line each, are sent with Content-Type: ") + kJsonLines;
}

}  // namespace

Service::Service(const Options& options)
    : options_(options),
      engine_(options.bundle, options.engine),
      metrics_(engine_.description().reductions),
      batcher_(options.limits, [this](const Batcher::Items& items) { return answer(items); }) {
    if (options.engine.mode != trbert::Mode::dense) engine_.verify().require_passed();
    server_.new_task_queue = [this] { return new httplib::ThreadPool(options_.connections); };
    server_.set_read_timeout(options.body_time);  // so that a body that stops coming is late too
    server_.set_keep_alive_max_count(1'000'000);
    server_.set_tcp_nodelay(true);
    // cpp-httplib would share the port with another process, and half of the requests.
    server_.set_socket_options([this](socket_t socket) {
        listening_ = socket;
        const int yes = 1;
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    // Of any other request the library would read a body of any size.
    server_.set_pre_routing_handler([](const httplib::Request& request, httplib::Response& response) {
        const bool post = request.method == "POST" && request.path == "/predict";
        using Next = httplib::Server::HandlerResponse;
        if (post || request.method == "GET" || request.method == "HEAD") return Next::Unhandled;
        response.status = 404;
        return Next::Handled;
    });
    server_.Post("/predict", [this](const httplib::Request& request, httplib::Response& response,
                                    const httplib::ContentReader& content) { predict(request, response, content); });
    server_.Get("/healthz", [this](const httplib::Request&, httplib::Response& response) {
        if (stopping_) return refuse(response, 503, "stopping");
        response.set_content(R"({"status":"ok","version":")" + std::string(trbert::version()) + "\"}\n", kJson);
    });
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
        response.set_content(metrics_.text(batcher_.waiting()), "text/plain; version=0.0.4");
    });
    // Called for every refusal: those made here have a type. The others may have left a body unread.
    server_.set_error_handler([this](const httplib::Request& request, httplib::Response& response) {
        if (response.has_header("Content-Type")) return;
        if (request.path == "/predict") metrics_.add_request(response.status, 0);
        std::string message = "the request is not understood";
        if (response.status == 404) message = "there are POST /predict, GET /healthz and GET /metrics";
        refuse(response, response.status, message, !stopping_);
    });
    port_ = options.port == 0 ? server_.bind_to_any_port(options.host.c_str())
                              : (server_.bind_to_port(options.host.c_str(), options.port) ? options.port : -1);
    if (port_ < 0) {
        throw std::runtime_error("cannot listen on " + options.host + ":" + std::to_string(options.port) +
                                 ". Choose another one: --port");
    }
    // cpp-httplib lets 5 connections wait to be accepted; of a burst, the system delays or resets what is beyond them.
    listen(listening_, SOMAXCONN);
}

void Service::run() {
    const bool fine = server_.listen_after_bind();  // returns when every accepted request has its answer
    done_ = true;
    if (!fine && !stopping_) throw std::runtime_error("the server stopped listening");
}

void Service::stop() {
    stopping_ = true;
    while (!server_.is_running() && !done_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    server_.stop();
}

void Service::predict(const httplib::Request& request, httplib::Response& response,
                      const httplib::ContentReader& content) {
    const auto start = Clock::now();
    const std::size_t beside = in_flight_++;
    const bool lines = holds_lines(request);
    std::string body;
    bool whole = false;  // else what comes next on the connection is no request
    try {
        if (request.is_multipart_form_data()) throw Refusal{400, "the body is a form: give a JSON object"};
        // Half of the spare ones may read what they refuse, so that others can still ask and be refused.
        if (beside >= options_.connections - kSpareConnections / 2) throw Refusal{429, kTooMany};
        body = receive(content, beside < options_.connections - kSpareConnections, whole);
        Batcher::Items prepared;
        const std::vector<std::string> items = items_of(body, lines);
        if (items.empty()) throw Refusal{400, "the body holds no item: give a JSON object a line"};
        for (const std::string& item : items) {
            if (item.size() > options_.max_item_bytes) {
                const std::string most = std::to_string(options_.max_item_bytes);
                throw Refusal{413, "an item is larger than " + most + " bytes" + hint(body, lines)};
            }
            if (prepared.size() == options_.limits.queue) {
                throw Refusal{413, "the request has more than " + std::to_string(options_.limits.queue) + " items"};
            }
            prepared.push_back(engine_.prepare(item));
        }
        const std::optional<Batcher::Answers> answers = batcher_.submit(prepared);
        if (!answers) throw Refusal{429, kTooMany};
        std::string text;
        for (const std::string& answer : *answers) text += answer + "\n";
        response.set_content(text, lines ? kJsonLines : kJson);
        response.status = 200;
    } catch (const Refusal& refusal) {
        if (refusal.status == 429) response.set_header("Retry-After", "1");
        // When stopping, the library closes every connection by itself, and calls no content provider.
        refuse(response, refusal.status, refusal.message, !whole && !stopping_);
    } catch (const trbert::Error& failure) {
        const bool input = failure.code() == trbert::ErrorCode::input;
        refuse(response, input ? 400 : 500, failure.what() + (input ? hint(body, lines) : ""));
    } catch (const std::exception& failure) {
        refuse(response, 500, failure.what(), !whole && !stopping_);
    }
    --in_flight_;
    if (stopping_) response.set_header("Connection", "close");
    const std::chrono::duration<double> taken = Clock::now() - start;
    metrics_.add_request(response.status, taken.count());
}

// A request's body, decompressed, or why it is refused. What is not wanted, or too large, is still read for a moment,
// and as far again: many a client looks at no answer before it has sent all. whole: whether the end was read.
std::string Service::receive(const httplib::ContentReader& content, bool wanted, bool& whole) const {
    const auto start = Clock::now();
    const std::size_t most = options_.max_body_bytes;
    std::size_t size = 0;
    std::string body;
    whole = content([&](const char* data, std::size_t count) {
        size += count;
        const bool keep = wanted && size <= most;
        if (keep) body.append(data, count);
        return size <= 2 * most && Clock::now() - start < (keep && !stopping_ ? options_.body_time : kGrace);
    });
    if (!wanted) throw Refusal{429, kTooMany};
    if (size > most) throw Refusal{413, "the body is larger than " + std::to_string(most) + " bytes"};
    if (whole) return body;
    if (stopping_) throw Refusal{503, "stopping"};
    if (Clock::now() - start < options_.body_time) throw Refusal{400, "the body ends early, or is not encoded as said"};
    throw Refusal{408, "the body took longer than " + std::to_string(options_.body_time.count()) + " seconds"};
}

// One batch, and what it says of the tokens kept.
Batcher::Answers Service::answer(const Batcher::Items& items) {
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
