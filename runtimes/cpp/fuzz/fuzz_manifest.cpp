// manifest.json, beside the real files of a bundle.
#include <unistd.h>

#include <fstream>

#include "bundle/reader.hpp"
#include "common.hpp"
#include "trbert/trbert.hpp"

namespace fs = std::filesystem;

// A copy of the bundle without its manifest; removed at the end.
class Folder {
public:
    Folder() : path(fs::temp_directory_path() / ("trbert-fuzz-" + std::to_string(getpid()))) {
        fs::create_directories(path);
        fs::copy(test_bundle(), path, fs::copy_options::recursive);
        fs::remove(path / "manifest.json");
    }
    ~Folder() { fs::remove_all(path); }

    const fs::path path;
};

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Folder folder;
    std::ofstream(folder.path / "manifest.json", std::ios::binary)
        .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
    try {
        const auto bundle = trbert::internal::open_bundle(folder.path, false);
        require(!bundle.task.inputs.empty() && bundle.stages.size() == bundle.reductions() + 1);
    } catch (const trbert::Error&) {
    }
    return 0;
}
