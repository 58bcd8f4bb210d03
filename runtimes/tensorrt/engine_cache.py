"""The engine cache: a folder beside the bundle, one file an engine, each of which knows what it is valid for.

A file is a line of magic, a line of JSON (`EngineHeader`) and the serialized engine. Its name holds a key of everything
that makes the engine what it is, so that a look for the name is a look for a valid engine. Files appear whole; a lock
keeps two processes from building the same one. Some fields have other names in files than here: those that they had at
first, so that engines built then stay valid.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trbert_deploy.bundle.folder import clear_abandoned, held, whole_file
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.runtimes.profiles import Profile
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets

_MAGIC = b"TRBERT-DEPLOY-ENGINE-1\n"
_SUFFIX = ".engine"
_BUILD = "build it again: trbert-deploy build BUNDLE"

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
        shapes: of the build that it is part of.
        inputs: the axes of each input, as the manifest has them.
        types: of each input and output, as TensorRT names them.
        created: when, ISO 8601.
        seconds: that the build took.
        serialized_bytes: size of the engine.
        serialized_sha256: of the engine.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    graph: str
    key: EngineKey
    shapes: ShapeBuckets = Field(alias="grid")
    inputs: dict[str, tuple[str | int, ...]]
    types: dict[str, str]
    created: str
    seconds: float
    serialized_bytes: int = Field(alias="plan_bytes")
    serialized_sha256: str = Field(alias="plan_sha256")


class EngineCache:
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
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(path.with_name(f".{path.name}.lock")))
                clear_abandoned(self.folder)
            except OSError as error:
                raise EngineError(
                    f"{self.folder} cannot be written: {error.strerror or error}", "give another folder with --engines"
                ) from error
            yield

    def write(self, header: EngineHeader, serialized: bytes) -> Path:
        """Put an engine into the cache, whole."""
        path = self.path(header.graph, header.key)
        try:
            with whole_file(path) as partial, partial.open("wb") as file:
                file.write(_MAGIC + header.model_dump_json(by_alias=True).encode() + b"\n")
                file.write(serialized)
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
    """The header of an engine file, without the engine itself.

    Raises:
        EngineError: it is not there, or is no engine file.
    """
    try:
        with path.open("rb") as file:
            return _header(file.readline(), file.readline(), path)
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}", _BUILD) from error


def read_engine(path: Path) -> tuple[EngineHeader, bytes]:
    """Header and serialized engine of a file, checked against its sha256.

    Raises:
        EngineError: it is not there, no engine file, or corrupt.
    """
    try:
        with path.open("rb") as file:
            header = _header(file.readline(), file.readline(), path)
            serialized = file.read()
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}", _BUILD) from error
    if len(serialized) != header.serialized_bytes:
        raise EngineError(
            f"{path} is corrupt: {len(serialized)} bytes of engine, not {header.serialized_bytes}", _BUILD
        )
    if hashlib.sha256(serialized).hexdigest() != header.serialized_sha256:
        raise EngineError(f"{path} is corrupt: the sha256 of its engine is another", _BUILD)
    return header, serialized


def _header(magic: bytes, line: bytes, path: Path) -> EngineHeader:
    if magic != _MAGIC:
        raise EngineError(f"{path} is no engine of this release", _BUILD)
    try:
        return EngineHeader.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        raise EngineError(f"{path} is corrupt: its header: {first['msg']}", _BUILD) from error
