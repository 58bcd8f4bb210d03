"""The C++ library, built once for all of its tests, as static and as shared library; and bundles that take text."""

from __future__ import annotations

import ctypes
import functools
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
    """Builds the library with warnings as errors."""
    options = [f"-DONNXRUNTIME_ROOT={onnxruntime_root}", "-DTRBERT_WERROR=ON", "-DCMAKE_BUILD_TYPE=Release", *AS_ONE]
    options.append("-DCMAKE_CXX_FLAGS_RELEASE=-O1")  # compiles in half the time
    tests = ["-DTRBERT_BUILD_TESTS=ON", f"-DTRBERT_TEST_BUNDLE={cached_text_bundle('sequence-classification')}"]
    static = _build("static", SOURCE, *options, *tests, install=BUILD / "installed")
    shared = _build("shared", SOURCE, *options, "-DBUILD_SHARED_LIBS=ON", "-DTRBERT_BUILD_TOOLS=ON")
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


@dataclass(frozen=True)
class Service:
    """The service of examples/cpp_service, which runs."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **headers: str
    ) -> tuple[int, str]:
        """Status and body of one request on a connection of its own; an iterable of bytes is sent chunked."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, {"Content-Type": kind, "Connection": "close", **headers})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def predict(self, *items: Any) -> list[dict[str, Any]]:
        """Answers to items, sent as JSON lines."""
        lines = "\n".join(json.dumps(item) for item in items).encode()
        status, text = self.ask("POST", "/predict", lines, "application/x-ndjson")
        assert status == 200, text
        return [json.loads(line) for line in text.splitlines()]

    def metrics(self) -> dict[str, float]:
        """Every sample by its name and labels; the text follows Prometheus's format."""
        status, text = self.ask("GET", "/metrics")
        assert status == 200
        samples, typed = {}, set()
        for line in text.splitlines():
            if line.startswith("#"):
                assert re.fullmatch(r"# HELP \w+ \S.*|# TYPE \w+ (counter|gauge|histogram)", line)
                typed.add(line.split()[2])
                continue
            found = re.fullmatch(r'(\w+?)(_bucket|_sum|_count)?(\{\w+="[^"]*"(?:,\w+="[^"]*")*\})? (\S+)', line)
            assert found, line
            assert found[1] in typed
            samples[line.rpartition(" ")[0]] = float(found[4])
        return samples

    def memory(self, kind: str = "VmRSS") -> float:
        """Resident, in MiB; with VmHWM the most that it ever was."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.search(rf"{kind}:\s+(\d+) kB", status)[1]) / 1024


@pytest.fixture(scope="session")
def service_program(cpp: Built) -> Path:
    """The service as another project: found by find_package, warnings are errors."""
    flags = ("-DCMAKE_CXX_FLAGS_RELEASE=-O1", "-DCMAKE_CXX_FLAGS=-Werror", *AS_ONE)
    service = _build("service", ROOT / "examples" / "cpp_service", f"-DCMAKE_PREFIX_PATH={cpp.installed}", *flags)
    return service / "trbert-service"


@pytest.fixture(scope="session")
def running(service_program: Path) -> Callable[..., AbstractContextManager[Service]]:
    """The service on a free port with a bundle and options; killed in the end, where it still runs."""

    @contextmanager
    def start(
        bundle: Path, *options: object, starter: Sequence[str | Path] = (service_program,), **environment: str
    ) -> Iterator[Service]:
        command = [*starter, bundle, "--port", "0", "--threads", "1", *options]
        process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE, text=True, env=os.environ | environment
        )
        try:
            line = process.stdout.readline()
            found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line)
            assert found, line
            yield Service(process, int(found[1]))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    return start
