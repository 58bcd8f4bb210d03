// Content-Encoding: what a compressed body stands for.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace service {

constexpr const char* kContentCodings = "gzip, br";

class ContentDecoder {
public:
    virtual ~ContentDecoder() = default;

    // Append what these bytes stand for; of a text that grows beyond `most` only as much as shows that. Throws Refusal
    // where they are not encoded as said.
    virtual void add(std::string_view bytes, std::string& text, std::size_t most) = 0;

    // Whether the bytes up to here are a whole.
    virtual bool ended() const = 0;
};

// coding: the header's value, which may be empty. Throws Refusal where it is another one.
std::unique_ptr<ContentDecoder> content_decoder(const std::string& coding);

}  // namespace service
