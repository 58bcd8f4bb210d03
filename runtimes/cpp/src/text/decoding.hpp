// From output arrays to predictions: a decoder for each kind of decoding, told by parameters what to read. The same
// predictions as trbert_deploy/text/decoding.py.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/specs.hpp"
#include "text/rows.hpp"

namespace trbert::internal {

using Prediction = nlohmann::ordered_json;  // keys in the order in which the Python engine gives them

// The prediction for one row of a batch, by its place.
using Decode = std::function<Prediction(const Row& row, const Output& output, std::size_t place)>;

// The decoder of a task that was checked. labels: names of its classes, by index; may be empty. Where this release has
// none of the task's kind, `require` throws Error (input), and the model still runs.
class Decoder {
public:
    Decoder(const TaskSpec& task, const std::vector<std::string>& labels);

    void require() const;

    // Throws Error (runtime) where an output of the row is not finite, of which no prediction can be made.
    static void require_finite(const Row& row, const Output& output, std::size_t place);

    Prediction operator()(const Row& row, const Output& output, std::size_t place) const {
        return decode_(row, output, place);
    }

private:
    Decode decode_;
    std::string why_not_;
};

}  // namespace trbert::internal
