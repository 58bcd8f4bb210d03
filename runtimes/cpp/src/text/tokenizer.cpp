#include "text/tokenizer.hpp"

#include <algorithm>
#include <stdexcept>
#include <tuple>

#include "core/errors.hpp"
#include "core/json.hpp"
#include "text/unicode.hpp"

namespace trbert::internal {
namespace {

constexpr const char* kGiveIds = "give token ids";
constexpr std::uintmax_t kMostTokenizerBytes = std::uintmax_t{64} << 20;

std::invalid_argument unlike_bert(const std::string& part) {
    return std::invalid_argument(part + " is not of the kind that BERT's tokenizers have");
}

void require_type(const Json& part, const std::string& name, const std::string& wanted) {
    if (!part.is_object() || part.at("type") != wanted) throw unlike_bert("its " + name);
}

Normalizer read_normalizer(const Json& part) {
    require_type(part, "normalizer", "BertNormalizer");
    Normalizer normalizer;
    part.at("clean_text").get_to(normalizer.clean_text);
    part.at("handle_chinese_chars").get_to(normalizer.handle_chinese_chars);
    part.at("lowercase").get_to(normalizer.lowercase);
    const Json& strips = part.at("strip_accents");
    normalizer.strip_accents = strips.is_null() ? normalizer.lowercase : strips.get<bool>();
    return normalizer;
}

WordPiece read_model(const Json& part) {
    require_type(part, "model", "WordPiece");
    std::unordered_map<std::string, std::int64_t> vocabulary;
    for (const auto& [token, id] : part.at("vocab").items()) vocabulary.emplace(token, integer(id));
    const std::int64_t most = integer(part.at("max_input_chars_per_word"));
    if (most < 0) throw unlike_bert("its max_input_chars_per_word");
    return WordPiece(std::move(vocabulary), part.at("unk_token"), part.at("continuing_subword_prefix"),
                     static_cast<std::size_t>(most));
}

// The ids of [CLS] and [SEP] in a pair [CLS] A [SEP] B [SEP].
std::pair<std::int64_t, std::int64_t> read_layout(const Json& part) {
    if (part.is_object() && part.at("type") == "BertProcessing") {
        return {integer(part.at("cls").at(1)), integer(part.at("sep").at(1))};
    }
    require_type(part, "post_processor", "TemplateProcessing");
    const Json& pair = part.at("pair");
    const auto special = [&](std::size_t place) {
        return pair.at(place).at("SpecialToken").at("id").get<std::string>();
    };
    const auto sequence = [&](std::size_t place) { return pair.at(place).at("Sequence").at("id").get<std::string>(); };
    if (pair.size() != 5 || sequence(1) != "A" || sequence(3) != "B" || special(2) != special(4)) {
        throw unlike_bert("its post_processor's template");
    }
    const auto id = [&](const std::string& name) {
        const Json& ids = part.at("special_tokens").at(name).at("ids");
        if (ids.size() != 1) throw unlike_bert("its post_processor's " + name);
        return integer(ids.at(0));
    };
    return {id(special(0)), id(special(2))};
}

// A token that is searched for in the text as it was given; other kinds of added tokens are not known here.
std::pair<std::u32string, std::int64_t> read_added_token(const Json& part, const WordPiece& pieces) {
    const std::string content = part.at("content");
    for (const char* kind : {"normalized", "single_word", "lstrip", "rstrip"}) {
        if (part.at(kind).get<bool>()) throw unlike_bert("its added token " + content + " (" + kind + ")");
    }
    const std::int64_t id = integer(part.at("id")), known = pieces.id_of(content);
    if (known >= 0 && known != id) throw unlike_bert("its added token " + content + " (of two ids)");
    return {decode_utf8(content), id};
}

}  // namespace

Tokenizer Tokenizer::read(const std::filesystem::path& path) {
    const Json file = read_json_file(path, kMostTokenizerBytes);
    try {
        Tokenizer tokenizer(read_normalizer(file.at("normalizer")), read_model(file.at("model")));
        require_type(file.at("pre_tokenizer"), "pre_tokenizer", "BertPreTokenizer");
        std::tie(tokenizer.cls_, tokenizer.sep_) = read_layout(file.at("post_processor"));
        for (const Json& part : file.at("added_tokens")) {
            auto [content, id] = read_added_token(part, tokenizer.pieces_);
            if (!content.empty()) tokenizer.add_special(std::move(content), id);
        }
        return tokenizer;
    } catch (const Json::exception& failure) {
        throw bundle_error(path.string() + " is not a tokenizer that can be read here: " + failure.what(), kGiveIds);
    } catch (const std::invalid_argument& failure) {
        throw bundle_error(path.string() + " would not be reproduced exactly: " + failure.what(), kGiveIds);
    }
}

void Tokenizer::add_special(std::u32string content, std::int64_t id) {
    std::vector<Special>& alike = specials_[content.front()];
    const auto shorter = [&](const Special& other) { return other.content.size() < content.size(); };
    const auto place = std::find_if(alike.begin(), alike.end(), shorter);
    alike.insert(place, {std::move(content), id});
}

const Tokenizer::Special* Tokenizer::special_at(const std::u32string& text, std::size_t place) const {
    const auto alike = specials_.find(text[place]);
    if (alike == specials_.end()) return nullptr;
    for (const Special& special : alike->second) {
        if (text.compare(place, special.content.size(), special.content) == 0) return &special;
    }
    return nullptr;
}

std::vector<Token> Tokenizer::encode(const std::u32string& text) const {
    std::vector<Token> tokens;
    std::size_t start = 0;
    const auto encode_until = [&](std::size_t end) {
        pieces_.encode(normalizer_.normalize(std::u32string_view(text).substr(start, end - start), start), tokens);
    };
    for (std::size_t place = 0; place < text.size();) {
        const Special* special = special_at(text, place);
        if (special == nullptr) {
            ++place;
            continue;
        }
        encode_until(place);
        start = place + special->content.size();
        tokens.push_back({special->id, place, start});
        place = start;
    }
    encode_until(text.size());
    return tokens;
}

}  // namespace trbert::internal
