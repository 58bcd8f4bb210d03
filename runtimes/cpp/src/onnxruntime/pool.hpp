// The thread pool that all engines of the process share.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <memory>

#include "trbert/trbert.hpp"

namespace trbert::internal {

// One session a stage would mean one thread pool a stage, whose idle threads spin and steal the cores from the stage
// that runs: 2-3 times slower. All sessions therefore use the pool of ONNX Runtime's environment, of which a process
// has one; it lives as long as an engine does.
class Pool {
public:
    Pool(bool shared, int threads);

    // The process's pool, made at the first call and gone with the last that holds it. Throws Error (configuration)
    // where there is one of another kind, Error (runtime) where ONNX Runtime does not start.
    static std::shared_ptr<Pool> of_process(const Options& options);

    // Have a session use it.
    void configure(Ort::SessionOptions& session) const;

    Ort::Env& environment() { return environment_; }

private:
    bool shared_;
    int threads_;
    Ort::Env environment_;
};

}  // namespace trbert::internal
