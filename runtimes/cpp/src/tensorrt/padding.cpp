#include "tensorrt/padding.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "bundle/check_graphs.hpp"
#include "core/errors.hpp"
#include "core/request_checks.hpp"

namespace trbert::internal {
namespace {

const Ids* on_host(const Feeds& feeds, const std::string& name) {
    const auto found = feeds.find(name);
    return found == feeds.end() ? nullptr : std::get_if<Ids>(&found->second);
}

std::int64_t bucket(std::int64_t tokens, const ShapeBuckets& shapes, std::size_t stage) {
    if (const auto found = round_up(tokens, shapes.tokens(stage))) return *found;
    const std::string what = stage == 0 ? "rows" : "what reduction " + std::to_string(stage) + " keeps";
    throw input_error("the TensorRT engines were built for " + what + " of at most " +
                          std::to_string(shapes.tokens(stage).back()) + " tokens, this batch has " +
                          std::to_string(tokens),
                      "build them again, with a larger last bucket or without --buckets: trbert-deploy build BUNDLE");
}

// Make an axis longer: by repeating its last element where nothing is given to fill it with.
void lengthen(Ids& array, std::size_t place, std::int64_t size, std::optional<std::int64_t> fill) {
    const auto product = [&](std::size_t first, std::size_t last) {
        return std::accumulate(array.shape.begin() + static_cast<std::ptrdiff_t>(first),
                               array.shape.begin() + static_cast<std::ptrdiff_t>(last), std::int64_t{1},
                               std::multiplies<>());
    };
    const std::int64_t outer = product(0, place), extent = array.shape[place];
    const std::int64_t inner = product(place + 1, array.shape.size());
    std::vector<std::int64_t> longer;
    longer.reserve(static_cast<std::size_t>(outer * size * inner));
    for (std::int64_t part = 0; part < outer; ++part) {
        const auto first = array.data.begin() + part * extent * inner, last = first + extent * inner;
        longer.insert(longer.end(), first, last);
        for (std::int64_t added = extent; added < size; ++added) {
            if (fill) longer.insert(longer.end(), static_cast<std::size_t>(inner), *fill);
            else longer.insert(longer.end(), last - inner, last);
        }
    }
    array.data = std::move(longer);
    array.shape[place] = size;
}

Ids padded(const std::string& name, Ids array, const Axes& axes, const Sizes& sizes, std::int64_t fill) {
    for (std::size_t place = 0; place < axes.size(); ++place) {
        if (!axes[place].varies()) continue;
        const std::int64_t size = sizes.at(axes[place].name);
        if (size < array.shape.at(place)) throw input_error(name + " is larger than the TensorRT engine takes");
        if (size == array.shape[place]) continue;
        lengthen(array, place, size, axes[place].name == kBatch ? std::nullopt : std::optional(fill));
    }
    return array;
}

// Of each axis of the inputs, as they are given. What is on the device is padded already, so it decides how long a row
// is.
Sizes given_sizes(const std::map<std::string, Axes>& inputs, const Feeds& feeds) {
    Sizes sizes;
    for (const bool host : {false, true}) {
        for (const auto& [name, axes] : inputs) {
            const Ids* array = on_host(feeds, name);
            if ((array != nullptr) != host) continue;
            const Shape shape = host ? array->shape : std::get<const Held*>(feeds.at(name))->shape();
            for (std::size_t place = 0; place < axes.size(); ++place) {
                if (axes[place].varies()) sizes.try_emplace(axes[place].name, shape.at(place));
            }
        }
    }
    return sizes;
}

}  // namespace

Shape Padded::shape(const Axes& axes) const {
    Shape shape;
    for (const Axis& axis : axes) shape.push_back(axis.varies() ? sizes.at(axis.name) : axis.size);
    return shape;
}

Padded pad(const std::map<std::string, Axes>& inputs, const Feeds& feeds, const ShapeBuckets& shapes, std::size_t stage,
           const TaskSpec& task) {
    Padded call;
    const Ids* mask = inputs.count(kAttentionMask) > 0 ? on_host(feeds, kAttentionMask) : nullptr;
    const Ids* rows = on_host(feeds, kRows);
    if (rows == nullptr) rows = mask;
    if (rows == nullptr) throw error(ErrorCode::runtime, "a TensorRT engine takes neither rows nor an attention mask");
    call.rows = rows->shape.front();
    if (mask != nullptr) call.width = mask->shape.back();  // stage 0 always has it
    call.sizes = given_sizes(inputs, feeds);
    call.sizes[kBatch] = round_up_rows(call.rows, shapes.rows);
    if (stage == 0) {
        call.sizes[kLength] = bucket(call.sizes.at(kLength), shapes, stage);
    } else {
        // Stages take the whole buffer of the one before, so that its rows in use make no difference to their shapes.
        call.sizes[kBatchBefore] = shapes.rows;
        call.sizes[kKept] = std::min(bucket(call.sizes.at(kKept), shapes, stage), call.sizes.at(kLength));
    }
    for (const auto& [name, axes] : inputs) {
        const Ids* array = on_host(feeds, name);
        if (array == nullptr) continue;
        if (name == kKeep) {  // only its shape is read
            const std::int64_t kept = call.sizes.at(kKept);
            call.arrays[name] = Ids{{kept}, std::vector<std::int64_t>(static_cast<std::size_t>(kept), 0)};
        } else {
            const InputSpec* spec = task.input(name);
            call.arrays[name] = padded(name, *array, axes, call.sizes, spec ? spec->padding : 0);
        }
    }
    return call;
}

}  // namespace trbert::internal
