// Requests out of the bytes of a connection, without sockets: Beast's parser, and what it leaves open.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http.hpp"

namespace service {

class RequestReader {
public:
    // Sizes in bytes: of the request line and the headers together, and of the body, decompressed.
    RequestReader(std::size_t max_header, std::size_t max_body);
    ~RequestReader();

    // Take what has come and return how much of it was taken: up to the end of the headers, then up to the end of the
    // body. What is left comes again, with more behind it. Throws Refusal where what has come is no request; nothing
    // more can be read then.
    std::size_t take(std::string_view bytes);

    bool has_head() const;
    bool whole() const;

    // All of these once it has a head; of one that was refused as far as it was understood.
    const Head& head() const;
    bool keeps_alive() const;
    bool waits_for_continue() const;
    std::optional<std::uint64_t> declared() const;  // the body's length, where the headers say it

    // Keep the body: without this it is read and dropped. Throws Refusal where the headers say that it is encoded in a
    // way that is not understood.
    void keep_body();

    // Why the body is not kept any longer, though it was to be.
    const std::optional<Refusal>& complaint() const;

    // What was kept of it, once it is whole and without complaint. Throws Refusal where it decodes to no end.
    std::string take_body();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace service
