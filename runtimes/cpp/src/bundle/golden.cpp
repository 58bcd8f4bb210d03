#include "bundle/golden.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

#include "bundle/files.hpp"
#include "bundle/read_specs.hpp"
#include "bundle/golden_checks.hpp"
#include "core/arrays.hpp"
#include "core/errors.hpp"
#include "core/request_checks.hpp"

namespace trbert::internal {
namespace {

// Larger files of golden vectors are not read.
constexpr std::uintmax_t kMostBytes = std::uintmax_t{256} << 20;

// Tokens at reductions: those that the engine or the reference alone keeps, of those that reach one.
struct Flips {
    double most = 0;  // share of them that the bundle's precision allows
    std::size_t flipped = 0, reached = 0;
};

// Numbers in `one` or in `other` alone; both ascend.
std::size_t differing(const Rows& one, const Rows& other) {
    Rows difference;
    std::set_symmetric_difference(one.begin(), one.end(), other.begin(), other.end(), std::back_inserter(difference));
    return difference.size();
}

// Real tokens of each row, of its longest sequence.
Rows lengths_of(const Ids& mask) {
    const std::int64_t width = mask.shape.back(), per_row = count_of(mask.shape, 1);
    Rows lengths;
    for (auto row = mask.data.begin(); row != mask.data.end(); row += per_row) {
        std::int64_t longest = 0;
        for (auto first = row; first != row + per_row; first += width)
            longest = std::max<std::int64_t>(longest, std::count(first, first + width, 1));
        lengths.push_back(longest);
    }
    return lengths;
}

// Returns which rows have the same kept positions. Where the precision allows flips, they are counted and not
// complained about.
std::vector<bool> compare_kept(const Kept& given, const Kept& wanted, Rows before, Flips& flips,
                               std::vector<std::string>& complaints) {
    std::vector<bool> same(before.size(), true);
    for (std::size_t reduction = 0; reduction < wanted.size(); ++reduction) {
        for (std::size_t row = 0; row < before.size(); ++row) {
            const std::size_t flipped = differing(given[reduction][row], wanted[reduction][row]);
            flips.flipped += flipped;
            flips.reached += static_cast<std::size_t>(before[row]);
            before[row] = static_cast<std::int64_t>(wanted[reduction][row].size());
            if (flipped > 0 && flips.most > 0) {
                same[row] = false;
            } else if (flipped > 0) {
                complaints.push_back("reduction " + std::to_string(reduction + 1) + ", row " + std::to_string(row) +
                                     ": kept positions differ");
            }
        }
    }
    return same;
}

// The largest difference in those rows, relative to the wanted value where that exceeds 1; not a number where one is
// none.
double largest_difference(const Tensor<float>& given, const Tensor<float>& wanted, const std::vector<bool>& rows) {
    double worst = 0;
    const std::size_t per_row = wanted.data.size() / rows.size();
    for (std::size_t place = 0; place < wanted.data.size() && !std::isnan(worst); ++place) {
        if (!rows[place / per_row]) continue;
        const double exact = wanted.data[place];
        const double distance = std::abs(static_cast<double>(given.data[place]) - exact);
        const double relative = distance / std::max(1.0, std::abs(exact));
        if (!(relative <= worst)) worst = relative;
    }
    return worst;
}

void compare_outputs(const Output& given, const Json& wanted, const std::vector<bool>& rows, double tolerance,
                     std::vector<std::string>& complaints) {
    for (const auto& [name, tensor] : given) {
        const Tensor<float> exact = floats_of(wanted.at(name));
        if (tensor.shape != exact.shape) {
            complaints.push_back(name + " is of shape " + text_of(tensor.shape) + ", not " + text_of(exact.shape));
            continue;
        }
        const double worst = largest_difference(tensor, exact, rows);
        if (worst <= tolerance) continue;
        char numbers[80];
        std::snprintf(numbers, sizeof numbers, " differs by %.3g, more than %g", worst, tolerance);
        complaints.push_back(name + numbers);
    }
}

Output answered(const Inputs& inputs, const std::function<Output(const Inputs&)>& run) {
    try {
        return run(inputs);
    } catch (const Error& failure) {
        if (failure.code() == ErrorCode::input) throw std::invalid_argument(failure.what());
        throw;
    }
}

Verification replay(const Bundle& bundle, const Json& golden, const std::function<Output(const Inputs&)>& run) {
    require(!golden.contains("schema_version") || major_version(golden) == 1, "its schema_version is not 1.x");
    Verification verification;
    const Tolerance tolerance = read_tolerance(golden, bundle.precision);
    Flips flips;
    flips.most = tolerance.flips;
    for (const Json& batch : golden.at("batches")) {
        Inputs inputs;
        for (const auto& [name, nested] : batch.at("inputs").items()) inputs[name] = integers_of(nested);
        const Output output = answered(inputs, run);
        const Rows lengths = lengths_of(inputs.at(kAttentionMask));
        verification.rows += lengths.size();
        const std::vector<bool> same =
            compare_kept(output.kept, read_kept(batch.at("kept"), lengths, bundle.reductions()), lengths, flips,
                         verification.complaints);
        compare_outputs(output, batch.at("outputs"), same, tolerance.outputs, verification.complaints);
    }
    if (verification.rows == 0) throw std::invalid_argument("it is empty");
    if (static_cast<double>(flips.flipped) > flips.most * static_cast<double>(flips.reached) && flips.most > 0) {
        verification.complaints.push_back(std::to_string(flips.flipped) + " of " + std::to_string(flips.reached) +
                                          " tokens at reductions are kept otherwise, more than the precision allows");
    }
    return verification;
}

}  // namespace

Verification replay(const Bundle& bundle, const std::function<Output(const Inputs&)>& run) {
    const std::filesystem::path path = bundle.folder / std::filesystem::u8path(bundle.golden);
    const Json golden = read_json_file(path, kMostBytes);
    try {
        return replay(bundle, golden, run);
    } catch (const Error&) {
        throw;
    } catch (const std::exception& problem) {  // of JSON types, and ours
        throw bundle_error(path.string() + " holds no golden vectors: " + problem.what());
    }
}

}  // namespace trbert::internal
