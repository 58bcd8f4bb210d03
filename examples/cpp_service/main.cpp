// trbert-service: a bundle behind HTTP.
#include <algorithm>
#include <csignal>
#include <iostream>
#include <thread>

#include "service.hpp"

namespace {

int serve(const service::Options& options) {
    // Threads inherit the mask, so that one of them alone takes these signals, in the open.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    service::Service service(options);
    std::thread stopper([&] {
        int received = 0;
        sigwait(&signals, &received);
        service.stop();
    });
    std::cout << "listening on http://" << options.host << ":" << service.port() << std::endl;
    int code = 0;
    try {
        service.run();
    } catch (const std::exception& failure) {
        std::cerr << "error: " << failure.what() << '\n';
        code = 1;
        pthread_kill(stopper.native_handle(), SIGTERM);
    }
    stopper.join();
    return code;
}

}  // namespace

int main(int count, char** words) {
    try {
        const std::vector<std::string> given(words + 1, words + count);
        if (std::find(given.begin(), given.end(), "--help") != given.end()) {
            std::cout << service::kUsage;
            return 0;
        }
        return serve(service::parse(given));
    } catch (const service::Usage& failure) {
        std::cerr << "error: " << failure.what() << "\n\n" << service::kUsage;
        return 2;
    } catch (const std::exception& failure) {
        std::cerr << "error: " << failure.what() << '\n';
        return 1;
    }
}
