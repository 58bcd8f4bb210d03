// Tokenize JSON strings, a line each, with a tokenizer.json: a list of [id, start, end] for each. For the parity tests.
#include <iostream>

#include "core/json.hpp"
#include "text/tokenizer.hpp"
#include "text/unicode.hpp"

using namespace trbert::internal;

int main(int count, char** words) {
    if (count != 2) return 2;
    try {
        const Tokenizer tokenizer = Tokenizer::read(words[1]);
        std::string line;
        while (std::getline(std::cin, line)) {
            Json tokens = Json::array();
            for (const Token& token : tokenizer.encode(decode_utf8(parse_json(line).get<std::string>()))) {
                tokens.push_back({token.id, token.start, token.end});
            }
            std::cout << tokens << '\n';
        }
        std::cout << Json{tokenizer.cls(), tokenizer.sep()} << '\n';
    } catch (const std::exception& failure) {
        std::cerr << failure.what() << '\n';
        return 1;
    }
}
