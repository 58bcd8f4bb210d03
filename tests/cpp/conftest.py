"""The C++ library, built once for all of its tests, as static and as shared library; and bundles that take text."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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


#: All sources as one, which compiles in half the time.
AS_ONE = ("-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_UNITY_BUILD_BATCH_SIZE=0")


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        onnxruntime: folder with ONNX Runtime's headers and the library of the wheel that the Python tests run.
        static: build folder of the static library, the tool and the tests.
        shared: build folder of the shared library and the tool.
    """

    onnxruntime: Path
    static: Path
    shared: Path

    @property
    def run(self) -> Path:
        """The command-line tool."""
        return self.static / "trbert-run"

    @property
    def tokenize_lines(self) -> Path:
        """See runtimes/cpp/tests/tokenize_lines.cpp."""
        return self.static / "tests" / "trbert-tokenize-lines"


@pytest.fixture(scope="session")
def cpp(cached_text_bundle: Callable[..., Path]) -> Built:
    """Builds the library with warnings as errors. What is missing, a header say, fails the tests."""
    call(SOURCE / "scripts" / "debian_packages.sh", "--check")
    bundle = cached_text_bundle("sequence-classification")
    BUILD.mkdir(parents=True, exist_ok=True)
    with FileLock(BUILD / "lock"):
        built = Built(BUILD / "onnxruntime", BUILD / "static", BUILD / "shared")
        if "ONNXRUNTIME_ROOT" in os.environ:
            built = Built(Path(os.environ["ONNXRUNTIME_ROOT"]), built.static, built.shared)
        elif not built.onnxruntime.exists():
            call(SOURCE / "scripts" / "onnxruntime_root.sh", built.onnxruntime, "wheel", sys.executable)
        options = [f"-DONNXRUNTIME_ROOT={built.onnxruntime}", "-DTRBERT_WERROR=ON", "-DCMAKE_BUILD_TYPE=Release"]
        options.append("-DCMAKE_CXX_FLAGS_RELEASE=-O1")  # compiles in half the time
        tests = ["-DTRBERT_BUILD_TESTS=ON", f"-DTRBERT_TEST_BUNDLE={bundle}"]
        call("cmake", "-S", SOURCE, "-B", built.static, *options, *tests)
        shared = ["-DBUILD_SHARED_LIBS=ON", "-DTRBERT_BUILD_TOOLS=ON", *AS_ONE]
        call("cmake", "-S", SOURCE, "-B", built.shared, *options, *shared)
        call("cmake", "--build", built.static)
        call("cmake", "--build", built.shared)
    return built


@pytest.fixture(scope="session")
def cpp_installed(cpp: Built) -> Path:
    """Where the static library is installed, for projects that look for it with find_package."""
    with FileLock(BUILD / "lock"):
        call("cmake", "--install", cpp.static, "--prefix", BUILD / "installed")
    return BUILD / "installed"


@dataclass(frozen=True)
class Sanitized:
    """The library, its tool and its tests with sanitizers; ONNX Runtime itself is not instrumented.

    Attributes:
        build: build folder; with "address,undefined" the fuzz targets stand in its `fuzz`.
        options: for CMake, to build a program like it that uses the library installed in `build / "installed"`.
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
def sanitized(cpp: Built, cached_text_bundle: Callable[..., Path]) -> Callable[[str], Sanitized]:
    """Builds with "address,undefined" or "thread"; once a session."""

    @functools.cache
    def build(sanitizer: str) -> Sanitized:
        folder = BUILD / f"sanitized-{sanitizer.partition(',')[0]}"
        compiler = ("-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++", "-DCMAKE_BUILD_TYPE=None")
        options = [*compiler, *AS_ONE, f"-DTRBERT_SANITIZE={sanitizer}", "-DCMAKE_CXX_FLAGS=-O1 -g1"]
        options += [f"-DONNXRUNTIME_ROOT={cpp.onnxruntime}", "-DTRBERT_WERROR=ON"]
        options += ["-DTRBERT_BUILD_TESTS=ON", f"-DTRBERT_TEST_BUNDLE={cached_text_bundle('sequence-classification')}"]
        fuzzers = f"-DTRBERT_BUILD_FUZZERS={'OFF' if sanitizer == 'thread' else 'ON'}"
        with FileLock(BUILD / "lock"):
            call("cmake", "-S", SOURCE, "-B", folder, *options, fuzzers)
            call("cmake", "--build", folder)
            call("cmake", "--install", folder, "--prefix", folder / "installed")
        flags = f"-DCMAKE_CXX_FLAGS=-O1 -g1 -fsanitize={sanitizer} -fno-sanitize-recover=all"
        return Sanitized(folder, (*compiler, flags, fuzzers, f"-DCMAKE_PREFIX_PATH={folder / 'installed'}"))

    return build


class _Options(ctypes.Structure):
    _fields_ = (
        ("mode", ctypes.c_char_p),
        ("device", ctypes.c_char_p),
        ("threads", ctypes.c_int),
        ("own_pool", ctypes.c_int),
        ("check_sha256", ctypes.c_int),
        ("runtime", ctypes.c_char_p),
        ("provider", ctypes.c_char_p),
        ("provider_library", ctypes.c_char_p),
        ("engines", ctypes.c_char_p),
    )


class _Input(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("data", ctypes.POINTER(ctypes.c_int64)),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("rank", ctypes.c_size_t),
    )


class CppError(Exception):
    """A call of the C interface failed; `code` says how."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class CppEngine:
    """The C interface of the shared library, spoken as another language would."""

    def __init__(self, library: ctypes.CDLL, bundle: Path, mode: str = "staged", *, check_sha256: bool = False) -> None:
        self._library = library
        self._engine = ctypes.c_void_p()
        options = _Options(mode.encode(), None, 1, 0, int(check_sha256))
        self._check(library.trbert_load(os.fsencode(bundle), ctypes.byref(options), ctypes.byref(self._engine)))

    def _check(self, code: int) -> None:
        if code:
            raise CppError(code, self._library.trbert_last_error().decode())

    def run(self, inputs: dict[str, Any], outputs: list[str]) -> tuple[dict[str, np.ndarray], list[list[list[int]]]]:
        """The named outputs, and kept positions [reduction][row]."""
        arrays = {name: np.ascontiguousarray(value, dtype=np.int64) for name, value in inputs.items()}
        int64s = ctypes.POINTER(ctypes.c_int64)
        given = (_Input * len(arrays))(
            *(
                _Input(
                    name.encode(),
                    array.ctypes.data_as(int64s),
                    (ctypes.c_int64 * array.ndim)(*array.shape),
                    array.ndim,
                )
                for name, array in arrays.items()
            )
        )
        output = ctypes.c_void_p()
        self._check(self._library.trbert_run(self._engine, given, len(arrays), 1, ctypes.byref(output)))
        try:
            return (
                {name: self._tensor(output, name) for name in outputs},
                list(self._kept(output, len(arrays["input_ids"]))),
            )
        finally:
            self._library.trbert_free_output(output)

    def _tensor(self, output: ctypes.c_void_p, name: str) -> np.ndarray:
        data, shape = ctypes.POINTER(ctypes.c_float)(), ctypes.POINTER(ctypes.c_int64)()
        rank = ctypes.c_size_t()
        references = (ctypes.byref(data), ctypes.byref(shape), ctypes.byref(rank))
        self._check(self._library.trbert_output_tensor(output, name.encode(), *references))
        return np.ctypeslib.as_array(data, shape=tuple(shape[: rank.value])).copy()

    def _kept(self, output: ctypes.c_void_p, rows: int) -> Any:
        positions, count = ctypes.POINTER(ctypes.c_int64)(), ctypes.c_size_t()
        for reduction in range(100):
            whole = []
            for row in range(rows):
                place = (ctypes.c_size_t(reduction), ctypes.c_size_t(row))
                if self._library.trbert_output_kept(output, *place, ctypes.byref(positions), ctypes.byref(count)):
                    return
                whole.append(positions[: count.value])
            yield whole

    def predict(self, json_lines: str | bytes) -> str:
        """JSON lines for JSON lines."""
        raw = json_lines.encode() if isinstance(json_lines, str) else json_lines
        answers = ctypes.c_void_p()
        self._check(self._library.trbert_predict(self._engine, raw, ctypes.byref(answers)))
        try:
            return ctypes.string_at(answers).decode()
        finally:
            self._library.trbert_free_text(answers)

    def verify(self) -> None:
        """Replay the golden vectors."""
        self._check(self._library.trbert_verify(self._engine))

    def close(self) -> None:
        """Free the engine."""
        self._library.trbert_free(self._engine)
        self._engine = ctypes.c_void_p()


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


@pytest.fixture(scope="session")
def service_program(cpp_installed: Path) -> Path:
    """The service as another project: found by find_package, warnings are errors."""
    build, source = BUILD / "service", ROOT / "examples" / "cpp_service"
    with FileLock(BUILD / "lock"):
        options = [f"-DCMAKE_PREFIX_PATH={cpp_installed}", "-DCMAKE_CXX_FLAGS_RELEASE=-O1", "-DCMAKE_CXX_FLAGS=-Werror"]
        call("cmake", "-S", source, "-B", build, *options, *AS_ONE)
        call("cmake", "--build", build)
    return build / "trbert-service"


@pytest.fixture(scope="session")
def running(service_program: Path) -> Callable[..., AbstractContextManager[Service]]:
    """The service on a free port with a bundle and options; killed in the end, where it still runs."""

    def start(
        bundle: Path, *options: object, starter: Sequence[str | Path] = (service_program,), **environment: str
    ) -> AbstractContextManager[Service]:
        return started([*starter, bundle, "--port", "0", "--threads", "1", *options], environment)

    return start
