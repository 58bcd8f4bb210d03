"""The engine cache: a folder beside the bundle, one file an engine, each of which knows what it is valid for.

A file is a line of magic, a line of JSON (`EngineHeader`) and the plan. Its name holds a key of everything that makes
the engine what it is, so that a look for the name is a look for a valid engine. Files appear whole; a lock keeps two
processes from building the same one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from trbert_deploy.bundle.folder import whole_file
from trbert_deploy.bundle.reader import Bundle
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.runtimes.tensorrt.buckets import Grid, Profile

_MAGIC = b"TRBERT-DEPLOY-ENGINE-1\n"
_SUFFIX = ".engine"

#: Stands for a compute capability or driver that was not fixed when the engine was built.
ANY = "any"


class EngineError(TRBertError):
    """An engine file is missing, corrupt, or not valid here."""


class EngineKey(BaseModel):
    """What makes an engine the one that is wanted.

    Attributes:
        graph_sha256: of the ONNX file.
        precision: read off it.
        profiles: in order.
        flavor: of TensorRT.
        tensorrt: its version.
        compute_capability: as ``"8.9"``, or `ANY` for engines of TensorRT-RTX that run on all from 8.0 on.
        driver: the CUDA version that the driver offers, or `ANY` where the engine was built without one.
        workspace_mib: see `BuildSettings`.
        optimization_level: see `BuildSettings`.
    """

    model_config = ConfigDict(frozen=True)

    graph_sha256: str
    precision: str
    profiles: tuple[Profile, ...]
    flavor: str
    tensorrt: str
    compute_capability: str
    driver: str
    workspace_mib: int | None
    optimization_level: int | None

    @property
    def digest(self) -> str:
        """Hexadecimal, of the whole key."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class EngineHeader(BaseModel):
    """What an engine file says of itself.

    Attributes:
        graph: file name of the ONNX graph.
        key: what it is valid for.
        grid: of the build that it is part of.
        inputs: the axes of each input, by their names in the graph or their fixed sizes.
        types: of each input and output, as TensorRT names them.
        created: when, ISO 8601.
        seconds: that the build took.
        plan_bytes: size of the plan.
        plan_sha256: of the plan.
    """

    model_config = ConfigDict(frozen=True)

    graph: str
    key: EngineKey
    grid: Grid
    inputs: dict[str, tuple[str | int, ...]]
    types: dict[str, str]
    created: str
    seconds: float
    plan_bytes: int
    plan_sha256: str


def engines_folder(bundle: Bundle) -> Path:
    """Where a bundle's engines lie unless told otherwise: ``NAME.engines`` beside the folder ``NAME``."""
    folder = bundle.folder.resolve()
    return folder.with_name(folder.name + ".engines")


class EngineStore:
    """A folder of engines; nothing is made before something is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, graph: str, key: EngineKey) -> Path:
        """Where the engine of a graph with this key lies, or would."""
        return self.folder / f"{Path(graph).stem}-{key.digest}{_SUFFIX}"

    @contextlib.contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Hold the right to build the engine at `path`; waits for another process that has it.

        Raises:
            EngineError: the folder cannot be written.
        """
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise EngineError(
                f"{self.folder} cannot be written: {error.strerror or error}", "give another folder with --engines"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def write(self, header: EngineHeader, plan: bytes) -> Path:
        """Put an engine into the store, whole."""
        path = self.path(header.graph, header.key)
        try:
            with whole_file(path) as partial, partial.open("wb") as file:
                file.write(_MAGIC + header.model_dump_json().encode() + b"\n")
                file.write(plan)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise EngineError(
                f"{path} cannot be written: {error.strerror or error}", "free some space, or give --engines"
            ) from error
        return path

    def __iter__(self) -> Iterator[Path]:
        """The engine files, the one that was built or asked for last first."""
        found = [path for path in self.folder.glob(f"*{_SUFFIX}") if not path.name.startswith(".")]
        return iter(sorted(found, key=lambda path: (-path.stat().st_mtime_ns, path.name)))


def read_header(path: Path) -> EngineHeader:
    """The header of an engine file, without its plan.

    Raises:
        EngineError: it is not there, or is no engine file.
    """
    try:
        with path.open("rb") as file:
            return _header(file.readline(), file.readline(), path)
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}", _BUILD) from error


def read_engine(path: Path) -> tuple[EngineHeader, bytes]:
    """Header and plan of an engine file, checked against its sha256.

    Raises:
        EngineError: it is not there, no engine file, or corrupt.
    """
    try:
        with path.open("rb") as file:
            header = _header(file.readline(), file.readline(), path)
            plan = file.read()
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}", _BUILD) from error
    if len(plan) != header.plan_bytes:
        raise EngineError(f"{path} is corrupt: {len(plan)} bytes of plan, not {header.plan_bytes}", _BUILD)
    if hashlib.sha256(plan).hexdigest() != header.plan_sha256:
        raise EngineError(f"{path} is corrupt: the sha256 of its plan is another", _BUILD)
    return header, plan


def _header(magic: bytes, line: bytes, path: Path) -> EngineHeader:
    if magic != _MAGIC:
        raise EngineError(f"{path} is no engine of this release", _BUILD)
    try:
        return EngineHeader.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        raise EngineError(f"{path} is corrupt: its header: {first['msg']}", _BUILD) from error


_BUILD = "build it again: trbert-deploy build BUNDLE"
