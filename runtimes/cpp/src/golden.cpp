#include "golden.hpp"

#include <cmath>
#include <cstdio>
#include <stdexcept>

#include "arrays.hpp"
#include "errors.hpp"

namespace trbert::internal {
namespace {

using Kept = decltype(Output::kept);

// The largest difference, relative to the wanted value where that exceeds 1; not a number where one is none.
double largest_difference(const std::vector<float>& given, const std::vector<float>& wanted) {
    double worst = 0;
    for (std::size_t place = 0; place < wanted.size(); ++place) {
        const double exact = wanted[place];
        const double distance = std::abs(static_cast<double>(given[place]) - exact) / std::max(1.0, std::abs(exact));
        if (!(distance <= worst)) worst = distance;
        if (std::isnan(worst)) break;
    }
    return worst;
}

void compare_kept(const Kept& given, const Kept& wanted, std::vector<std::string>& complaints) {
    if (given.size() != wanted.size()) throw std::invalid_argument("it has another number of reductions");
    for (std::size_t reduction = 0; reduction < wanted.size(); ++reduction) {
        if (given[reduction].size() != wanted[reduction].size())
            throw std::invalid_argument("it has another number of rows");
        for (std::size_t row = 0; row < wanted[reduction].size(); ++row) {
            if (given[reduction][row] == wanted[reduction][row]) continue;
            complaints.push_back("reduction " + std::to_string(reduction + 1) + ", row " + std::to_string(row) +
                                 ": kept positions differ");
        }
    }
}

void compare_outputs(const Output& given, const Json& wanted, double tolerance, std::vector<std::string>& complaints) {
    for (const auto& [name, tensor] : given) {
        const Tensor<float> exact = floats_of(wanted.at(name));
        if (tensor.shape != exact.shape) {
            complaints.push_back(name + " is of another shape");
            continue;
        }
        const double worst = largest_difference(tensor.data, exact.data);
        if (worst <= tolerance) continue;
        char numbers[80];
        std::snprintf(numbers, sizeof numbers, " differs by %.3g, more than %g", worst, tolerance);
        complaints.push_back(name + numbers);
    }
}

}  // namespace

Verification replay(const std::filesystem::path& path, const std::function<Output(const Inputs&)>& run) {
    const Json golden = read_json_file(path);
    Verification verification;
    try {
        const double tolerance = golden.at("tolerance");
        for (const Json& batch : golden.at("batches")) {
            Inputs inputs;
            for (const auto& [name, nested] : batch.at("inputs").items()) inputs[name] = integers_of(nested);
            const Output output = run(inputs);
            verification.rows += static_cast<std::size_t>(inputs.at("input_ids").shape.at(0));
            compare_kept(output.kept, batch.at("kept").get<Kept>(), verification.complaints);
            compare_outputs(output, batch.at("outputs"), tolerance, verification.complaints);
        }
        if (verification.rows == 0) throw std::invalid_argument("it is empty");
    } catch (const Error&) {
        throw;
    } catch (const std::exception& problem) {  // of JSON types, and ours
        throw bundle_error(path.string() + " holds no golden vectors: " + problem.what());
    }
    return verification;
}

}  // namespace trbert::internal
