"""The C++ library, built once for all of its tests, as static and as shared library; and bundles that take text."""

from __future__ import annotations

import ctypes
import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import cpp_builds
import pytest
from cpp_engine import CppEngine
from cpp_service import Service, started

from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.text.json_lines import read_json_lines

REVIEWS = [line["text"] for line in read_json_lines(evaluation_file())]


@pytest.fixture(scope="session")
def cmake_build() -> Callable[..., Path]:
    """Builds a source folder with CMake: name of the build, source, options, `targets`, `install`; gives its folder.

    The builds are kept from run to run, and only what changed is compiled again.
    """
    return cpp_builds.build


@pytest.fixture(scope="session")
def onnxruntime_root() -> Path:
    """Where headers and library of the ONNX Runtime are that Python has. What is missing, a header say, fails tests."""
    return cpp_builds.onnxruntime_root()


@pytest.fixture(scope="session")
def cpp() -> cpp_builds.Built:
    """The library with warnings as errors: static with clang, shared with GCC."""
    return cpp_builds.library()


@pytest.fixture(scope="session")
def sanitized(cached_text_bundle: Callable[..., Path]) -> Callable[[str], cpp_builds.Sanitized]:
    """The library with "address,undefined" or "thread"; its unit tests find their bundle."""
    cpp_builds.link_bundle(cached_text_bundle("sequence-classification"))
    return cpp_builds.sanitized


@pytest.fixture(scope="session")
def cpp_engine(cpp: cpp_builds.Built) -> Callable[..., CppEngine]:
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
def service_program() -> Path:
    """The HTTP service."""
    return cpp_builds.service()


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
