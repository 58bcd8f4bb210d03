"""The C++ library, built once for all of its tests, as static and as shared library; and bundles that take text."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cpp_engine import CppEngine
from cpp_service import Service, started
from filelock import FileLock

from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.text.json_lines import read_json_lines

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "runtimes" / "cpp"
#: Kept from run to run (git ignores it), so that only what changed is compiled again.
BUILD = ROOT / "build" / "cpp"
REVIEWS = [line["text"] for line in read_json_lines(evaluation_file())]


def call(*command: object, **options: Any) -> str:
    """Run a program that has to succeed."""
    words = [str(word) for word in command]
    result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout
    return result.stdout


#: All sources as one, which compiles in half the time. That each compiles alone too, `examples/cpp_service/start.sh`
#: shows, in a slow test.
AS_ONE = ("-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_UNITY_BUILD_BATCH_SIZE=0")


def _build(name: str, source: Path, *options: object, targets: Sequence[str] = ("all",), install: Any = None) -> Path:
    """Configure and build in a folder of `BUILD`, one process at a time, and install where that is said."""
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(BUILD / f"{name}.lock"):
        call("cmake", "-S", source, "-B", folder, *options)
        call("cmake", "--build", folder, "--target", *targets)
        if install:
            call("cmake", "--install", folder, "--prefix", install)
    return folder


@pytest.fixture(scope="session")
def cmake_build() -> Callable[..., Path]:
    """Builds a source folder with CMake: name of the build, source, options, `targets`, `install`; gives its folder.

    The builds are kept from run to run, and only what changed is compiled again.
    """
    return _build


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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def cpp(onnxruntime_root: Path, cached_text_bundle: Callable[..., Path]) -> Built:
    """Builds the library with warnings as errors: static with clang, shared with GCC."""
    options = [f"-DONNXRUNTIME_ROOT={onnxruntime_root}", "-DTRBERT_WERROR=ON", "-DCMAKE_BUILD_TYPE=Release", *AS_ONE]
    tests = ["-DTRBERT_BUILD_TESTS=ON", f"-DTRBERT_TEST_BUNDLE={cached_text_bundle('sequence-classification')}"]
    # The unit tests are built where they run: with sanitizers.
    targets = ("trbert-run", "trbert-tokenize-lines", "trbert-tensorrt-on-host", "trbert-provider-settings")
    clang = ("-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++", "-DCMAKE_CXX_FLAGS_RELEASE=-O1")
    static = _build("static", SOURCE, *options, *clang, *tests, targets=targets, install=BUILD / "installed")
    gcc = ("-DCMAKE_C_COMPILER=gcc", "-DCMAKE_CXX_COMPILER=g++", "-DCMAKE_CXX_FLAGS_RELEASE=-O1")
    shared = _build("shared", SOURCE, *options, *gcc, "-DBUILD_SHARED_LIBS=ON", "-DTRBERT_BUILD_TOOLS=ON")
    return Built(onnxruntime_root, static, shared, BUILD / "installed")


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


@pytest.fixture(scope="session")
def sanitized(onnxruntime_root: Path, cached_text_bundle: Callable[..., Path]) -> Callable[[str], Sanitized]:
    """Builds with "address,undefined" or "thread"; once a session. Not optimized: it compiles in half the time."""
    tested = ("trbert-run", "trbert-unit-tests")
    address = ("trbert-out-of-memory", "fuzz-item", "fuzz-manifest", "fuzz-text", "fuzz-tokenizer")

    @functools.cache
    def build(sanitizer: str) -> Sanitized:
        name = f"sanitized-{sanitizer.partition(',')[0]}"
        compiler = ("-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++", "-DCMAKE_BUILD_TYPE=None")
        options = [*compiler, *AS_ONE, f"-DTRBERT_SANITIZE={sanitizer}", "-DCMAKE_CXX_FLAGS=-O0 -g1"]
        options += [f"-DONNXRUNTIME_ROOT={onnxruntime_root}", "-DTRBERT_WERROR=ON", "-DTRBERT_BUILD_TESTS=ON"]
        options.append(f"-DTRBERT_TEST_BUNDLE={cached_text_bundle('sequence-classification')}")
        fuzzers = f"-DTRBERT_BUILD_FUZZERS={'OFF' if sanitizer == 'thread' else 'ON'}"
        installed = BUILD / f"{name}-installed"
        targets = tested if sanitizer == "thread" else (*tested, *address)
        folder = _build(name, SOURCE, *options, fuzzers, targets=targets, install=installed)
        flags = f"-DCMAKE_CXX_FLAGS=-O0 -g1 -fsanitize={sanitizer} -fno-sanitize-recover=all"
        return Sanitized(folder, (*compiler, flags, fuzzers, f"-DCMAKE_PREFIX_PATH={installed}"))

    return build


@pytest.fixture(scope="session")
def cpp_engine(cpp: Built) -> Callable[..., CppEngine]:
    """Loads a bundle through the C interface of the shared library; once a session for each bundle and mode."""
    library = ctypes.CDLL(str(cpp.shared / "libtrbert.so"))
    library.trbert_last_error.restype = ctypes.c_char_p
    library.trbert_free.restype = None
    library.trbert_free_output.restype = None
    library.trbert_free_text.restype = None
    for name in ("trbert_free", "trbert_free_output", "trbert_free_text"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.trbert_verify.argtypes = [ctypes.c_void_p]
    return functools.cache(functools.partial(CppEngine, library))


@pytest.fixture
def fresh_engine(cpp_engine: Callable[..., CppEngine]) -> Callable[..., CppEngine]:
    """As `cpp_engine`, for a bundle that changes: loads it anew."""
    return cpp_engine.__wrapped__  # type: ignore[attr-defined]


@pytest.fixture
def broken(text_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A bundle of one's own to break, and its manifest to edit."""
    return Path(shutil.copytree(text_bundle("sequence-classification"), tmp_path / "bundle"))


@pytest.fixture(scope="session")
def service_program(cpp: Built) -> Path:
    """The service as another project: found by find_package, warnings are errors."""
    flags = ("-DCMAKE_CXX_FLAGS_RELEASE=-O1", "-DCMAKE_CXX_FLAGS=-Werror", *AS_ONE)
    service = _build("service", ROOT / "examples" / "cpp_service", f"-DCMAKE_PREFIX_PATH={cpp.installed}", *flags)
    return service / "trbert-service"


@pytest.fixture(scope="session")
def running(service_program: Path) -> Callable[..., AbstractContextManager[Service]]:
    """The service on a free port with a bundle and options; killed in the end, where it still runs."""

    def start(
        bundle: Path, *options: object, starter: Sequence[str | Path] = (service_program,), **environment: str
    ) -> AbstractContextManager[Service]:
        return started([*starter, bundle, "--port", "0", "--threads", "1", *options], environment)

    return start


@pytest.fixture(scope="module")
def bundle(text_bundle: Callable[..., Path]) -> Path:
    """What the service answers with."""
    return text_bundle("sequence-classification")


@pytest.fixture(scope="module")
def service_options() -> Sequence[str | Path]:
    """Options of `service`; a module that wants some has its own."""
    return ()


@pytest.fixture(scope="module")
def service(
    running: Callable[..., AbstractContextManager[Service]], bundle: Path, service_options: Sequence[str | Path]
) -> Iterator[Service]:
    """One for all tests of a module; whatever it was sent, it lives."""
    with running(bundle, *service_options) as started:
        yield started
        assert started.process.poll() is None
