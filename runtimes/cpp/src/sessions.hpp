// ONNX Runtime: sessions of a bundle's graphs over one thread pool. The only part that knows its API.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "manifest.hpp"
#include "request.hpp"

namespace trbert::internal {

using Values = std::map<std::string, Ort::Value>;

// What a graph is fed, by name: arrays that live here, and outputs of an earlier stage that live elsewhere.
class Feeds {
public:
    void add(const std::string& name, Ids array);
    void add(const std::string& name, const Ort::Value& value) { values_[name] = &value; }
    bool has(const std::string& name) const { return values_.count(name) > 0; }
    const Ort::Value& at(const std::string& name) const { return *values_.at(name); }

private:
    std::map<std::string, const Ort::Value*> values_;
    std::deque<Ids> arrays_;  // neither moves what it holds
    std::deque<Ort::Value> owned_;
};

class Pool;

class Sessions {
public:
    // One session for each graph. Throws Error (bundle, device, configuration).
    Sessions(const Bundle& bundle, const std::vector<Graph>& graphs, const Options& options);

    const Graph& graph(std::size_t index) const { return graphs_[index]; }
    std::size_t size() const { return graphs_.size(); }

    // Run one graph. Outputs that `read` is true of come to the host, others stay on the device. Throws Error
    // (runtime).
    Values run(std::size_t index, const Feeds& feeds, const std::function<bool(const std::string&)>& read) const;

private:
    std::vector<Graph> graphs_;
    std::shared_ptr<Pool> pool_;                  // outlives the sessions
    mutable std::vector<Ort::Session> sessions_;  // running one changes nothing that is seen
    Ort::MemoryInfo device_;
};

// An output on the host. Throw Error (runtime) where it is of another type.
Tensor<float> floats(const Ort::Value& value);
Ids integers(const Ort::Value& value);

}  // namespace trbert::internal
