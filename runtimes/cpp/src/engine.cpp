#include <algorithm>
#include <map>

#include "bundle/golden.hpp"
#include "bundle/reader.hpp"
#include "core/errors.hpp"
#include "runtimes.hpp"
#include "text/decoding.hpp"
#include "text/items.hpp"
#include "text/row_maker.hpp"
#include "trbert/trbert.hpp"

namespace trbert {

using namespace internal;

struct Engine::Impl {
    Impl(const std::string& folder, const Options& options)
        : bundle(open_bundle(std::filesystem::u8path(folder), options.check_sha256)),
          mode(options.mode),
          rows(bundle),
          decode(bundle.task, bundle.labels),
          runtime(make_runtime(bundle, options)) {
        description.task = bundle.task.name;
        description.labels = bundle.labels;
        for (const OutputSpec& output : bundle.task.outputs) description.outputs.push_back(output.name);
        description.reductions = bundle.reductions();
        description.max_length = bundle.task.max_length;
        description.has_tokenizer = rows.takes_text();
    }

    Output run(const Inputs& inputs, bool want_kept) const {
        return runtime->run(Request(bundle.task, inputs), want_kept);
    }

    Row understand(const std::string& item, const std::string& name) const {
        decode.require();
        return rows.make(read_item(bundle.task, item, name));
    }

    std::vector<std::string> answer(const std::vector<const Row*>& all) const {
        std::map<std::int64_t, std::vector<std::size_t>> alike;  // by number of sequences
        for (std::size_t place = 0; place < all.size(); ++place) alike[all[place]->sequences()].push_back(place);
        std::vector<std::string> answers(all.size());
        for (const auto& entry : alike) answer_alike(all, entry.second, answers);
        return answers;
    }

    // Answer rows that stand for equally many sequences.
    void answer_alike(const std::vector<const Row*>& all, const std::vector<std::size_t>& places,
                      std::vector<std::string>& answers) const {
        std::vector<const Row*> chosen;
        for (const std::size_t place : places) chosen.push_back(all[place]);
        const Output output = run(collate(chosen, bundle.task), true);
        for (std::size_t index = 0; index < places.size(); ++index) {
            const Row& row = *chosen[index];
            Prediction answer = Prediction::object();
            if (!row.id.is_null()) answer["id"] = row.id;
            Decoder::require_finite(row, output, index);
            answer.update(decode(row, output, index));
            answer["token_count"] = row.length;
            answer["kept"] = Prediction::array();
            for (const auto& reduction : output.kept) answer["kept"].push_back(reduction[index].size());
            if (row.truncated) answer["truncated"] = true;
            if (row.empty) answer["empty"] = true;
            answers[places[index]] = answer.dump();
        }
    }

    Bundle bundle;
    Mode mode;
    RowMaker rows;
    Decoder decode;
    std::unique_ptr<Runtime> runtime;
    Description description;
};

Engine::Engine(const std::string& bundle, const Options& options) : impl_(std::make_unique<Impl>(bundle, options)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

Output Engine::run(const Inputs& inputs, bool want_kept) const { return impl_->run(inputs, want_kept); }

Batch Engine::tokenize(const std::vector<Text>& texts) const {
    if (texts.empty()) throw input_error("there is no text to make a batch of", "give at least one");
    std::vector<Row> rows;
    std::vector<const Row*> places;
    Batch batch;
    rows.reserve(texts.size());
    for (const Text& text : texts) {
        const Json item = text.pair ? Json::array({text.text, *text.pair}) : Json(text.text);
        rows.push_back(impl_->rows.make(read_item(impl_->bundle.task, item, "text " + std::to_string(rows.size()))));
        places.push_back(&rows.back());
        batch.truncated.push_back(rows.back().truncated);
    }
    batch.inputs = collate(places, impl_->bundle.task);
    return batch;
}

std::vector<std::string> Engine::predict(const std::vector<std::string>& items) const {
    std::vector<Row> rows;
    rows.reserve(items.size());
    std::vector<const Row*> places;
    for (const std::string& item : items) {
        rows.push_back(impl_->understand(item, "item " + std::to_string(rows.size())));
        places.push_back(&rows.back());
    }
    return impl_->answer(places);
}

Prepared Engine::prepare(const std::string& item) const {
    const auto row = std::make_shared<const Row>(impl_->understand(item, "the item"));
    return {row->length * row->sequences(), row};
}

std::vector<std::string> Engine::answer(const std::vector<Prepared>& items) const {
    std::vector<const Row*> places;
    for (const Prepared& item : items) {
        if (!item.row) throw input_error("an item was not prepared", "use what Engine::prepare gives");
        places.push_back(item.row.get());
    }
    return impl_->answer(places);
}

Verification Engine::verify() const {
    if (impl_->mode == Mode::dense && impl_->bundle.reductions() > 0) {
        throw error(ErrorCode::configuration,
                    "the golden vectors are of the reducing model: they cannot prove mode dense",
                    "verify an engine of mode staged or fused");
    }
    return replay(impl_->bundle, [this](const Inputs& inputs) { return impl_->run(inputs, true); });
}

const Description& Engine::description() const { return impl_->description; }

void Verification::require_passed() const {
    if (passed()) return;
    throw Error(ErrorCode::check, "the engine does not answer like its reference: " + complaints.front() + " (and " +
                                      std::to_string(complaints.size() - 1) +
                                      " more). Check the bundle: trbert-deploy verify BUNDLE");
}

const char* version() { return TRBERT_VERSION; }

}  // namespace trbert
