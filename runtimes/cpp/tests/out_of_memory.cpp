// Every call of the C interface that fails, with every one of its allocations as the first that finds no memory: no
// exception leaves the library, and there is a code and a message.
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <new>

#include "trbert/trbert.h"

namespace {

// Allocations that succeed from here on; negative: all of them.
thread_local long left = -1;

void* allocate(std::size_t size) {
    if (left == 0) return nullptr;
    if (left > 0) --left;
    return std::malloc(size > 0 ? size : 1);
}

// Returns whether the call failed as it should where there is memory for everything, which ends the attempts.
template <typename Call>
bool survives(const char* name, trbert_code wanted, const Call& call) {
    for (long allocations = 0; allocations < 10'000; ++allocations) {
        left = allocations;
        try {
            const trbert_code code = call();
            const bool enough = left > 0;
            left = -1;
            if (code == TRBERT_OK || std::strlen(trbert_last_error()) == 0) {
                std::cerr << name << ": no error, or no message, after " << allocations << " allocations\n";
                return false;
            }
            if (enough) return code == wanted;
        } catch (...) {
            left = -1;
            std::cerr << name << ": an exception left the library after " << allocations << " allocations\n";
            return false;
        }
    }
    std::cerr << name << ": never enough\n";
    return false;
}

}  // namespace

void* operator new(std::size_t size) {
    if (void* memory = allocate(size)) return memory;
    throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

int main() {
    trbert_engine* engine = nullptr;
    char* answers = nullptr;
    const bool survived =
        survives("trbert_load", TRBERT_BUNDLE,
                 [&] { return trbert_load("/a/folder/that/is/not/there", nullptr, &engine); }) &&
        survives("trbert_predict", TRBERT_INPUT, [&] { return trbert_predict(nullptr, "{}", &answers); });
    return survived ? 0 : 1;
}
