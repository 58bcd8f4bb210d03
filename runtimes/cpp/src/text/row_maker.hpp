// Items to rows of token ids, with the bundle's tokenizer: the rows of trbert_deploy/text/tokenizer.py.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "text/layout.hpp"
#include "text/rows.hpp"
#include "text/tokenizer.hpp"

namespace trbert::internal {

class RowMaker {
public:
    // The bundle outlives it.
    explicit RowMaker(const Bundle& bundle);

    bool takes_text() const { return tokenizer_.has_value() && task_.text; }

    // Throws Error (input) that names the item.
    Row make(Item item) const;

private:
    // empty: set where a text says nothing.
    std::vector<TokenPart> tokenized(const Item& item, bool& empty) const;
    Row row_of(const Item& item) const;
    Inputs arrays_of(const std::vector<TokenSequence>& sequences) const;

    const TaskSpec& task_;
    std::optional<Tokenizer> tokenizer_;
    std::string why_not_ = "the bundle has no tokenizer, so it cannot take text. Give token ids";
    std::size_t room_ = 0;  // tokens of a sequence of text at most
};

}  // namespace trbert::internal
