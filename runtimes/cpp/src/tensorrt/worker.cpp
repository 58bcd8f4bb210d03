#include "tensorrt/worker.hpp"

#include <algorithm>

#include "core/errors.hpp"
#include "core/json.hpp"

namespace trbert::internal {
namespace {

// A stage's output.
class DeviceTensor : public Held {
public:
    // rows: how many of its rows are real. width: where its second axis is a row's tokens that are given back, how many
    // are real.
    DeviceTensor(Device& device, Device::Stream stream, void* where, TensorType type, Shape shape, std::int64_t rows,
                 std::optional<std::int64_t> width)
        : place(where),
          device_(device),
          stream_(stream),
          type_(type),
          shape_(std::move(shape)),
          rows_(rows),
          width_(width) {}

    Shape shape() const override { return shape_; }
    Tensor<float> floats() const override { return fetch<float>(TensorType::Kind::float32); }
    Ids integers() const override { return fetch<std::int64_t>(TensorType::Kind::int64); }

    void* const place;

private:
    // What was added by rounding up is cut off.
    template <typename Number>
    Tensor<Number> fetch(TensorType::Kind wanted) const {
        if (type_.kind != wanted || shape_.empty() || rows_ > shape_[0] || (width_ && shape_.size() < 2)) {
            throw error(ErrorCode::runtime, "a TensorRT engine gave an output of an unexpected type or shape");
        }
        Tensor<Number> whole{shape_, {}};
        whole.shape[0] = rows_;
        whole.data.resize(static_cast<std::size_t>(count_of(whole.shape)));
        device_.download(whole.data.data(), place, whole.data.size() * sizeof(Number), stream_);
        if (!width_ || *width_ >= shape_[1]) return whole;
        Tensor<Number> cut{whole.shape, {}};
        cut.shape[1] = *width_;
        const auto given = static_cast<std::ptrdiff_t>(whole.data.size()) / rows_, kept = given / shape_[1] * *width_;
        for (auto row = whole.data.begin(); row != whole.data.end(); row += given)
            cut.data.insert(cut.data.end(), row, row + kept);
        return cut;
    }

    Device& device_;
    Device::Stream stream_;
    TensorType type_;
    Shape shape_;
    std::int64_t rows_;
    std::optional<std::int64_t> width_;
};

// Every bucket was found, so it is an axis that is not rounded up.
Error beyond(const std::vector<Profile>& profiles, const Sizes& sizes) {
    for (const auto& [axis, size] : sizes) {
        std::int64_t most = 0;
        for (const Profile& profile : profiles) {
            if (const Range* range = profile.range(axis)) most = std::max(most, (*range)[2]);
        }
        if (most > 0 && size > most) {
            return input_error("the TensorRT engines were built for at most " + std::to_string(most) + " " + axis +
                                   ", this batch has " + std::to_string(size),
                               "build them again: trbert-deploy build BUNDLE --max-entries " + std::to_string(size));
        }
    }
    return input_error("no profile of the TensorRT engines holds " + Json(sizes).dump(),
                       "build them again: trbert-deploy build BUNDLE");
}

}  // namespace

Worker::Worker(Device& device, const TensorRtEngines& engines, const ShapeBuckets& shapes, const TaskSpec& task)
    : device_(device), engines_(engines), shapes_(shapes), task_(task), stream_(device.open()) {
    std::size_t bytes = 0;
    for (const auto& engine : engines_) bytes = std::max(bytes, engine->scratch());
    try {
        if (bytes > 0) scratch_ = device_.allocate(bytes);
    } catch (...) {
        device_.close(stream_);
        throw;
    }
}

Worker::~Worker() {
    try {
        device_.activate();
        device_.synchronize(stream_);
    } catch (const Error&) {
        // A GPU that failed is not waited for.
    }
    contexts_.clear();
    for (const auto& entry : buffers_) device_.free(entry.second.place);
    if (scratch_ != nullptr) device_.free(scratch_);
    device_.close(stream_);
}

std::vector<Rows> Worker::group(std::size_t stage, const Rows& counts, std::int64_t sequences) {
    return shapes_.group(stage, counts, sequences);
}

Outputs Worker::run(std::size_t stage, Feeds feeds, const IsRead&) {
    const TensorRtEngine& engine = *engines_[stage];
    const Padded padded = pad(engine.inputs(), feeds, shapes_, stage, task_);
    width_ = padded.width.value_or(width_);
    Context& chosen = context(stage, padded.sizes);
    Shapes taken;
    for (const auto& [name, axes] : engine.inputs()) taken[name] = padded.shape(axes);
    Outputs outputs = bind_outputs(stage, padded, chosen, chosen.take_shapes(taken));
    bind_inputs(stage, padded, chosen, taken, feeds);
    chosen.enqueue(stream_);
    return outputs;
}

Outputs Worker::bind_outputs(std::size_t stage, const Padded& padded, Context& chosen, const Shapes& given) {
    Outputs outputs;
    for (const auto& [name, shape] : given) {
        if (shape.empty() || shape[0] > shapes_.rows)
            throw error(ErrorCode::runtime, "a TensorRT engine gives " + name + " of an unexpected shape");
        Shape room = shape;  // for as many rows as there can be: the next stage takes the whole buffer
        room[0] = shapes_.rows;
        void* place = fit(stage, name, room);
        chosen.bind(name, place);
        const OutputSpec* spec = task_.output(name);
        const std::optional<std::int64_t> width = spec && spec->per_token() ? std::optional(width_) : std::nullopt;
        outputs.emplace(name, std::make_unique<DeviceTensor>(device_, stream_, place, engines_[stage]->type(name),
                                                             shape, padded.rows, width));
    }
    return outputs;
}

void Worker::bind_inputs(std::size_t stage, const Padded& padded, Context& chosen, const Shapes& taken,
                         const Feeds& feeds) {
    for (const auto& [name, shape] : taken) {
        const auto array = padded.arrays.find(name);
        if (array == padded.arrays.end()) {
            chosen.bind(name, static_cast<const DeviceTensor&>(*std::get<const Held*>(feeds.at(name))).place);
            continue;
        }
        if (engines_[stage]->type(name).kind != TensorType::Kind::int64)
            throw error(ErrorCode::runtime, "a TensorRT engine takes " + name + " in an unexpected type");
        void* place = fit(stage, name, shape);
        const Rows& numbers = array->second.data;
        device_.upload(place, numbers.data(), numbers.size() * sizeof(std::int64_t), stream_);
        chosen.bind(name, place);
    }
}

Context& Worker::context(std::size_t stage, const Sizes& sizes) {
    const TensorRtEngine& engine = *engines_[stage];
    const auto profile = choose_profile(engine.profiles(), sizes);
    if (!profile) throw beyond(engine.profiles(), sizes);
    std::unique_ptr<Context>& made = contexts_[{stage, *profile}];
    if (!made) made = engine.context(*profile, scratch_, stream_);
    return *made;
}

void* Worker::fit(std::size_t stage, const std::string& name, const Shape& shape) {
    const std::size_t bytes =
        std::max<std::size_t>(1, static_cast<std::size_t>(count_of(shape)) * engines_[stage]->type(name).bytes);
    Buffer& buffer = buffers_[{stage, name}];
    if (bytes <= buffer.bytes) return buffer.place;
    if (buffer.place != nullptr) {
        device_.synchronize(stream_);
        device_.free(std::exchange(buffer.place, nullptr));
        buffer.bytes = 0;
    }
    buffer.place = device_.allocate(bytes);
    buffer.bytes = bytes;
    return buffer.place;
}

}  // namespace trbert::internal
