#include "tensorrt_checks.hpp"

#include "core/errors.hpp"

namespace trbert::internal {

void require_for_tensorrt(const Bundle& bundle, Mode mode) {
    if (!bundle.int8_form.empty() && bundle.int8_form != "tensorrt") {
        throw bundle_error("the int8 graphs of " + bundle.folder.string() +
                               " have the form for CPUs, with zero points that TensorRT refuses",
                           "export it again: --precision int8 --int8-form tensorrt");
    }
    const bool by_data = !bundle.reduction.by_budget() || bundle.task.protected_from;  // how many tokens go on
    if (mode == Mode::fused && bundle.reductions() > 0 && by_data) {
        throw error(
            ErrorCode::configuration,
            bundle.fused.file + " is no graph for TensorRT: the number of tokens that go on in it depends on the data",
            "the stages are made for that: use mode staged");
    }
}

std::filesystem::path tensorrt_engines_folder(const Bundle& bundle) {
    const std::filesystem::path folder = std::filesystem::canonical(bundle.folder);
    return folder.parent_path() / std::filesystem::path(folder.filename()).concat(".engines");
}

}  // namespace trbert::internal
