// The contracts between the engine, the pipeline and a library that runs graphs: they show nothing of the library.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/request.hpp"

namespace trbert::internal {

// A graph's output, wherever its runner holds it: valid until the same stage is run again, and no longer.
class Held {
public:
    virtual ~Held() = default;
    virtual Shape shape() const = 0;

    // Its numbers on the host. Throw Error (runtime) where it is of another type.
    virtual Tensor<float> floats() const = 0;
    virtual Ids integers() const = 0;
};

using Outputs = std::map<std::string, std::unique_ptr<const Held>>;

// What a graph is fed, by name: arrays on the host, and outputs of the stage before.
using Feed = std::variant<Ids, const Held*>;
using Feeds = std::map<std::string, Feed>;

// Whether an output of that name will be read on the host.
using IsRead = std::function<bool(const std::string&)>;

// Runs the graphs of a bundle, one a stage.
class StageRunner {
public:
    virtual ~StageRunner() = default;

    // Split rows into groups that suit this runner; see `group_rows`.
    virtual std::vector<Rows> group(std::size_t stage, const Rows& counts, std::int64_t sequences) = 0;

    // Run one stage. Throws Error (runtime, and what else the library runs into).
    virtual Outputs run(std::size_t stage, Feeds feeds, const IsRead& is_read) = 0;
};

// Runs requests; may be called from several threads at once.
class Runtime {
public:
    virtual ~Runtime() = default;
    virtual Output run(const Request& request, bool want_kept) const = 0;
};

}  // namespace trbert::internal
