#include "onnxruntime/pool.hpp"

#ifdef __linux__
#include <sched.h>
#endif

#include <algorithm>
#include <mutex>
#include <string>
#include <thread>

#include "core/errors.hpp"
#include "onnxruntime/sessions.hpp"

namespace trbert::internal {
namespace {

// Those that this process may run on.
int usable_cpus() {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

Ort::Env make_environment(bool shared, int threads) {
    try {
        if (!shared) return Ort::Env(ORT_LOGGING_LEVEL_ERROR, "trbert");
        Ort::ThreadingOptions options;
        options.SetGlobalIntraOpNumThreads(threads);
        options.SetGlobalInterOpNumThreads(1);
        return Ort::Env(options, ORT_LOGGING_LEVEL_ERROR, "trbert");
    } catch (const Ort::Exception& failure) {
        throw error(ErrorCode::runtime, "ONNX Runtime does not start: " + first_line(failure),
                    "load no engine while another user of ONNX Runtime in this process closes its environment");
    }
}

// The pool and how many use it. It comes and goes under the mutex, so that the next one is made when the last is gone:
// ONNX Runtime cannot start while its environment is being closed.
struct Process {
    std::mutex mutex;
    std::unique_ptr<Pool> pool;
    std::size_t users = 0;
};

Process& process() {
    static Process* const only = new Process;  // never deleted: engines may be closed as late as at exit
    return *only;
}

void leave(const Pool*) {
    const std::lock_guard<std::mutex> lock(process().mutex);
    if (--process().users == 0) process().pool.reset();
}

}  // namespace

Pool::Pool(bool shared, int threads)
    : shared_(shared), threads_(threads), environment_(make_environment(shared, threads)) {}

std::shared_ptr<Pool> Pool::of_process(const Options& options) {
    if (options.threads < 0) {
        throw error(ErrorCode::configuration,
                    "threads must be at least 1, or 0, not " + std::to_string(options.threads));
    }
    std::unique_lock<std::mutex> lock(process().mutex);
    std::unique_ptr<Pool>& pool = process().pool;
    if (!pool) {
        pool = std::make_unique<Pool>(options.share_pool, options.threads > 0 ? options.threads : usable_cpus());
    }
    if (pool->shared_ != options.share_pool) {
        throw error(ErrorCode::configuration,
                    "engines with and without share_pool cannot live in one process at a time",
                    "load every engine with the same share_pool");
    }
    if (options.threads > 0 && options.threads != pool->threads_) {
        throw error(ErrorCode::configuration,
                    std::to_string(options.threads) + " threads were asked for, but the engines of this process have " +
                        std::to_string(pool->threads_),
                    "use one number of threads in a process");
    }
    ++process().users;
    Pool* const used = pool.get();
    lock.unlock();  // where there is no memory for the shared pointer, it leaves
    return std::shared_ptr<Pool>(used, leave);
}

void Pool::configure(Ort::SessionOptions& session) const {
    if (shared_) {
        session.DisablePerSessionThreads();
    } else {
        session.SetIntraOpNumThreads(threads_);
        session.AddConfigEntry("session.force_spinning_stop", "1");
    }
}

}  // namespace trbert::internal
