"""The C++ programs that tests run, each built when it is first asked for: ``python cpp_builds.py`` builds all.

It needs ONNX Runtime's wheel and nothing else of the project, so that it can go on beside the rest of the install.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "runtimes" / "cpp"
#: Kept from run to run (git ignores it), so that only what changed is compiled again.
BUILD = ROOT / "build" / "cpp"
#: A link to the bundle that ctest gives to the unit tests.
BUNDLE = BUILD / "bundle"
#: All sources as one, which compiles in half the time. That each compiles alone too, `examples/cpp_service/start.sh`
#: shows, in a slow test.
AS_ONE = ("-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_UNITY_BUILD_BATCH_SIZE=0")
CLANG = ("-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++")
#: Optimized enough for tests that load the service.
QUICKLY = "-DCMAKE_CXX_FLAGS_RELEASE=-O1"


def call(*command: object, **options: Any) -> str:
    """Run a program that has to succeed."""
    words = [str(word) for word in command]
    result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout
    return result.stdout


def build(name: str, source: Path, *options: object, targets: Sequence[str] = ("all",), install: Any = None) -> Path:
    """Configure and build in a folder of `BUILD`, one process at a time, and install where that is said."""
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(BUILD / f"{name}.lock"):
        call("cmake", "-S", source, "-B", folder, *options)
        call("cmake", "--build", folder, "--target", *targets)
        if install:
            call("cmake", "--install", folder, "--prefix", install)
    return folder


def onnxruntime_root() -> Path:
    """Where headers and library of the ONNX Runtime are that Python has. What is missing, a header say, fails tests."""
    call(SOURCE / "scripts" / "debian_packages.sh", "--check")
    if "ONNXRUNTIME_ROOT" in os.environ:
        return Path(os.environ["ONNXRUNTIME_ROOT"])
    BUILD.mkdir(parents=True, exist_ok=True)
    with FileLock(BUILD / "onnxruntime.lock"):
        # What is there links to an environment, which may be gone.
        if not (BUILD / "onnxruntime" / "lib" / "libonnxruntime.so").exists():
            call(SOURCE / "scripts" / "onnxruntime_root.sh", BUILD / "onnxruntime", "wheel", sys.executable)
    return BUILD / "onnxruntime"


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        onnxruntime: folder with ONNX Runtime's headers and the library of the wheel that the Python tests run.
        static: build folder of the static library, the tool and the tests.
        shared: build folder of the shared library and the tool.
        installed: where the static library is installed, for projects that look for it with find_package.
    """

    onnxruntime: Path
    static: Path
    shared: Path
    installed: Path

    @property
    def run(self) -> Path:
        """The command-line tool."""
        return self.static / "trbert-run"

    @property
    def tokenize_lines(self) -> Path:
        """See runtimes/cpp/tests/tokenize_lines.cpp."""
        return self.static / "tests" / "trbert-tokenize-lines"


@functools.cache
def library() -> Built:
    """The library with warnings as errors: static with clang, shared with GCC."""
    root = onnxruntime_root()
    options = (f"-DONNXRUNTIME_ROOT={root}", "-DTRBERT_WERROR=ON", "-DCMAKE_BUILD_TYPE=Release", *AS_ONE)
    tests = ("-DTRBERT_BUILD_TESTS=ON", f"-DTRBERT_TEST_BUNDLE={BUNDLE}")
    # The unit tests are built where they run: with sanitizers.
    targets = ("trbert-run", "trbert-tokenize-lines", "trbert-tensorrt-on-host", "trbert-provider-settings")
    clang = (*options, *CLANG, QUICKLY, *tests)
    static = build("static", SOURCE, *clang, targets=targets, install=BUILD / "installed")
    gcc = ("-DCMAKE_C_COMPILER=gcc", "-DCMAKE_CXX_COMPILER=g++", QUICKLY)
    shared = build("shared", SOURCE, *options, *gcc, "-DBUILD_SHARED_LIBS=ON", "-DTRBERT_BUILD_TOOLS=ON")
    return Built(root, static, shared, BUILD / "installed")


@functools.cache
def service() -> Path:
    """The HTTP service as another project: found by find_package, warnings are errors."""
    flags = (QUICKLY, "-DCMAKE_CXX_FLAGS=-Werror", *AS_ONE)
    source = ROOT / "examples" / "cpp_service"
    return build("service", source, f"-DCMAKE_PREFIX_PATH={library().installed}", *flags) / "trbert-service"


@dataclass(frozen=True)
class Sanitized:
    """The library, its tool and its tests with sanitizers; ONNX Runtime itself is not instrumented.

    Attributes:
        build: build folder; with "address,undefined" the fuzz targets stand in its `fuzz`.
        options: for CMake, to build a program like it that uses the library that is installed from it.
    """

    build: Path
    options: tuple[str, ...]

    def prefix(self) -> list[str]:
        """What a command starts with, so that ThreadSanitizer of clang 14 finds its addresses free."""
        bits = int(Path("/proc/sys/vm/mmap_rnd_bits").read_text(encoding="utf-8"))
        return ["setarch", "--addr-no-randomize"] if bits > 28 else []

    def environment(self) -> dict[str, str]:
        """Of a program that ctest does not start."""
        return os.environ | {"TSAN_OPTIONS": f"suppressions={SOURCE / 'tests' / 'thread_sanitizer.supp'}"}


@functools.cache
def sanitized(sanitizer: str) -> Sanitized:
    """With "address,undefined" or "thread". Not optimized: it compiles in half the time."""
    tested = ("trbert-run", "trbert-unit-tests")
    address = ("trbert-out-of-memory", "fuzz-item", "fuzz-manifest", "fuzz-text", "fuzz-tokenizer")
    name = f"sanitized-{sanitizer.partition(',')[0]}"
    compiler = (*CLANG, "-DCMAKE_BUILD_TYPE=None")
    options = [*compiler, *AS_ONE, f"-DTRBERT_SANITIZE={sanitizer}", "-DCMAKE_CXX_FLAGS=-O0 -g1"]
    options += [f"-DONNXRUNTIME_ROOT={onnxruntime_root()}", "-DTRBERT_WERROR=ON", "-DTRBERT_BUILD_TESTS=ON"]
    options.append(f"-DTRBERT_TEST_BUNDLE={BUNDLE}")
    fuzzers = f"-DTRBERT_BUILD_FUZZERS={'OFF' if sanitizer == 'thread' else 'ON'}"
    installed = BUILD / f"{name}-installed"
    targets = tested if sanitizer == "thread" else (*tested, *address)
    folder = build(name, SOURCE, *options, fuzzers, targets=targets, install=installed)
    flags = f"-DCMAKE_CXX_FLAGS=-O0 -g1 -fsanitize={sanitizer} -fno-sanitize-recover=all"
    return Sanitized(folder, (*compiler, flags, fuzzers, f"-DCMAKE_PREFIX_PATH={installed}"))


@functools.cache
def service_fuzzers() -> Path:
    """The folder of the service's fuzz targets, with AddressSanitizer and UndefinedBehaviorSanitizer."""
    options = sanitized("address,undefined").options
    source = ROOT / "examples" / "cpp_service"
    return build("service-address", source, *options, targets=("fuzz-body", "fuzz-request"))


def link_bundle(bundle: Path) -> None:
    """Let `BUNDLE` be this one."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{BUNDLE}.lock"):
        if BUNDLE.is_symlink() and BUNDLE.readlink() == bundle:
            return
        new = BUNDLE.with_name("bundle.new")
        new.unlink(missing_ok=True)
        new.symlink_to(bundle)
        new.replace(BUNDLE)


if __name__ == "__main__":
    if not shutil.which("cmake"):
        sys.exit("error: there is no cmake\nhint: bash runtimes/cpp/scripts/debian_packages.sh")
    library()
    sanitized("address,undefined")
    sanitized("thread")
    service()
    service_fuzzers()
