#include "http.hpp"

#include <boost/beast/http/status.hpp>
#include <nlohmann/json.hpp>

#include "content_decoder.hpp"

namespace service {

Refusal too_large(std::size_t most) { return {413, "the body is larger than " + std::to_string(most) + " bytes"}; }

Reply reply_to(const Refusal& refusal) {
    const nlohmann::json body{{"error", refusal.what()}};
    // What a message quotes of a request may be no UTF-8.
    const std::string text = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    Reply reply{refusal.status, kJson, text, {}};
    if (refusal.status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
    if (refusal.status == 415) reply.headers.emplace_back("Accept-Encoding", kContentCodings);
    if (refusal.status == 429) reply.headers.emplace_back("Retry-After", "1");
    return reply;
}

std::string text_of(const Reply& reply, bool keep_alive, bool with_body) {
    const auto reason = boost::beast::http::obsolete_reason(boost::beast::http::int_to_status(reply.status));
    std::string text = "HTTP/1.1 " + std::to_string(reply.status) + " " + std::string(reason) + "\r\n";
    const auto add = [&](const std::string& name, const std::string& value) { text += name + ": " + value + "\r\n"; };
    add("Content-Type", reply.type);
    add("Content-Length", std::to_string(reply.body.size()));
    add("Connection", keep_alive ? "keep-alive" : "close");
    for (const auto& [name, value] : reply.headers) add(name, value);
    return text + "\r\n" + (with_body ? reply.body : "");
}

}  // namespace service
