// What is asked over HTTP, and what an engine answers.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <string>
#include <trbert/trbert.hpp>

#include "api_keys.hpp"
#include "batcher.hpp"
#include "http.hpp"
#include "metrics.hpp"
#include "options.hpp"

namespace service {

class Service : public Handler {
public:
    // Throws trbert::Error where the bundle cannot be loaded or does not prove itself, std::runtime_error where there
    // is no API key in the place where it should be.
    explicit Service(const Options& options);

    // From now on /healthz says that the service stops.
    void fail_health() { stopping_ = true; }

    void admit(const Head& head) const override;
    void answer(const Head& head, std::string body, Done done) override;
    void finished(const Head& head, int status, Clock::duration taken) override;

private:
    void predict(const std::string& body, bool lines, const Done& done);
    Batcher::Items prepare(const std::string& body, bool lines) const;
    Batcher::Answers run(const Batcher::Items& items);

    const Options options_;
    const ApiKeys keys_;
    const trbert::Engine engine_;
    Metrics metrics_;
    std::atomic<bool> stopping_{false};
    Batcher batcher_;
    boost::asio::thread_pool workers_;  // tokenize; last: they use all of the above
};

}  // namespace service
