#include "service.hpp"

#include <chrono>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>

#include "body.hpp"

namespace service {
namespace {

constexpr const char *kJson = "application/json", *kJsonLines = "application/x-ndjson";
constexpr const char* kTooMany = "too many requests wait: try again later";

// A request that is refused.
struct Refusal {
    int status;
    std::string message;
};

void refuse(httplib::Response& response, int status, const std::string& message) {
    const nlohmann::json body{{"error", message}};
    response.status = status;
    // What a message quotes of a request may be no UTF-8.
    response.set_content(body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n", kJson);
}

bool holds_lines(const httplib::Request& request) {
    return request.get_header_value("Content-Type").compare(0, std::string_view(kJsonLines).size(), kJsonLines) == 0;
}

}  // namespace

Service::Service(const Options& options)
    : options_(options),
      engine_(options.bundle, options.engine),
      metrics_(engine_.description().reductions),
      batcher_(options.limits, [this](const Batcher::Items& items) { return answer(items); }) {
    if (options.engine.mode != trbert::Mode::dense) engine_.verify().require_passed();
    server_.new_task_queue = [this] { return new httplib::ThreadPool(options_.connections); };
    server_.set_payload_max_length(options.max_body_bytes);
    server_.set_keep_alive_max_count(1'000'000);
    server_.set_tcp_nodelay(true);
    // cpp-httplib would share the port with another process, and half of the requests.
    server_.set_socket_options([](socket_t socket) {
        const int yes = 1;
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    server_.Post("/predict",
                 [this](const httplib::Request& request, httplib::Response& response) { predict(request, response); });
    server_.Get("/healthz", [this](const httplib::Request&, httplib::Response& response) {
        if (stopping_) return refuse(response, 503, "stopping");
        response.set_content(R"({"status":"ok","version":")" + std::string(trbert::version()) + "\"}\n", kJson);
    });
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
        response.set_content(metrics_.text(batcher_.waiting()), "text/plain; version=0.0.4");
    });
    // Those that the library itself refuses, which have no body yet.
    server_.set_error_handler([this](const httplib::Request& request, httplib::Response& response) {
        if (!response.body.empty()) return;
        if (request.path == "/predict") metrics_.add_request(response.status, 0);
        std::string message = "the request is not understood";
        if (response.status == 404) message = "there are POST /predict, GET /healthz and GET /metrics";
        if (response.status == 413)
            message = "the body is larger than " + std::to_string(options_.max_body_bytes) + " bytes";
        refuse(response, response.status, message);
    });
    port_ = options.port == 0 ? server_.bind_to_any_port(options.host.c_str())
                              : (server_.bind_to_port(options.host.c_str(), options.port) ? options.port : -1);
    if (port_ < 0) {
        throw std::runtime_error("cannot listen on " + options.host + ":" + std::to_string(options.port) +
                                 ". Choose another one: --port");
    }
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

void Service::predict(const httplib::Request& request, httplib::Response& response) {
    const auto start = std::chrono::steady_clock::now();
    const std::size_t beside = in_flight_++;
    try {
        if (beside >= options_.connections - kSpareConnections) throw Refusal{429, kTooMany};
        Batcher::Items prepared;
        const std::vector<std::string> items = items_of(request.body, holds_lines(request));
        if (items.empty()) throw Refusal{400, "the body holds no item: give a JSON object a line"};
        for (const std::string& item : items) {
            if (item.size() > options_.max_item_bytes) {
                throw Refusal{413, "an item is larger than " + std::to_string(options_.max_item_bytes) + " bytes"};
            }
            if (prepared.size() == options_.limits.queue) {
                throw Refusal{413, "the request has more than " + std::to_string(options_.limits.queue) + " items"};
            }
            prepared.push_back(engine_.prepare(item));
        }
        const std::optional<Batcher::Answers> answers = batcher_.submit(prepared);
        if (!answers) throw Refusal{429, kTooMany};
        std::string body;
        for (const std::string& answer : *answers) body += answer + "\n";
        response.set_content(body, holds_lines(request) ? kJsonLines : kJson);
        response.status = 200;
    } catch (const Refusal& refusal) {
        if (refusal.status == 429) response.set_header("Retry-After", "1");
        refuse(response, refusal.status, refusal.message);
    } catch (const trbert::Error& failure) {
        refuse(response, failure.code() == trbert::ErrorCode::input ? 400 : 500, failure.what());
    } catch (const std::exception& failure) {
        refuse(response, 500, failure.what());
    }
    --in_flight_;
    if (stopping_) response.set_header("Connection", "close");
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    metrics_.add_request(response.status, taken.count());
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
