"""One graph's engine: from the cache, or built and put there."""

from __future__ import annotations

import datetime
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.manifest import GraphFile
from trbert_deploy.bundle.precision import graph_precision
from trbert_deploy.runtimes.profiles import own_axes, stage_profiles
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.builder import BuiltEngine, build_engine
from trbert_deploy.runtimes.tensorrt.engine_cache import (
    EngineCache,
    EngineError,
    EngineHeader,
    EngineKey,
    read_engine,
)
from trbert_deploy.runtimes.tensorrt.flavor import Flavor
from trbert_deploy.runtimes.tensorrt.messages import Say
from trbert_deploy.runtimes.tensorrt.options import BuildSettings
from trbert_deploy.runtimes.tensorrt_checks import BuildError


@dataclass(frozen=True)
class BuildTarget:
    """What all engines of a build are for, and by which TensorRT.

    Attributes:
        flavor: of TensorRT.
        settings: for its builder.
        compute_capability: see `EngineKey`.
        driver: see `EngineKey`.
    """

    flavor: Flavor
    settings: BuildSettings
    compute_capability: str
    driver: str


@dataclass(frozen=True)
class EngineReport:
    """One engine of a report.

    Attributes:
        graph: the ONNX file.
        file: the engine's.
        precision: of the graph, and of what TensorRT made of it.
        profiles: how many it has.
        bytes: of the engine.
        seconds: that the build took, whenever it was.
        reused: whether it lay in the cache.
    """

    graph: str
    file: str
    precision: str
    profiles: int
    bytes: int
    seconds: float
    reused: bool


def cached_engine(
    bundle: Bundle,
    graph: GraphFile,
    stage: int,
    shapes: ShapeBuckets,
    target: BuildTarget,
    cache: EngineCache,
    say: Say,
) -> EngineReport:
    """See to it that a graph's engine lies in the cache.

    Args:
        bundle: whose.
        graph: one of its graphs.
        stage: whose shapes that takes.
        shapes: of the build.
        target: likewise.
        cache: where engines lie.
        say: is given progress and TensorRT's messages, a line each.

    Raises:
        BuildError: TensorRT does not take the graph, or not in its precision.
        EngineError: the cache cannot be written.
    """
    key = _key(bundle, graph, stage, shapes, target)
    path = cache.path(graph.file, key)
    with cache.locked(path):
        header = _reuse(path, say)
        reused = header is not None
        if header is None:
            count = len(key.profiles)
            say(f"{graph.file}: building with {count} profile{'s' if count > 1 else ''} ...")
            start = time.perf_counter()
            built = build_engine(target.flavor, bundle.folder, graph, key.profiles, target.settings, say)
            header = _header(graph, key, shapes, built, target.flavor)
            cache.write(header, built.serialized)
            size = header.serialized_bytes / 2**20
            say(f"{graph.file}: {key.precision}, {size:.1f} MiB in {time.perf_counter() - start:.1f} s")
        else:
            os.utime(path)  # asked for last: of several sets of engines the runtime takes this one
            say(f"{graph.file}: in the cache ({path.name})")
    return EngineReport(
        graph.file, path.name, key.precision, len(key.profiles), header.serialized_bytes, header.seconds, reused
    )


def _key(bundle: Bundle, graph: GraphFile, stage: int, shapes: ShapeBuckets, target: BuildTarget) -> EngineKey:
    manifest = bundle.manifest
    profiles = stage_profiles(shapes, stage, full_length=manifest.reduction.full_length, own=own_axes(manifest.task))
    return EngineKey(
        graph_sha256=manifest.files[graph.file].sha256,
        precision=graph_precision(bundle.path(graph.file)).name,
        profiles=tuple(profiles),
        flavor=target.flavor.name,
        tensorrt=target.flavor.version,
        compute_capability=target.compute_capability,
        driver=target.driver,
        workspace_mib=target.settings.workspace_mib,
        optimization_level=target.settings.optimization_level,
    )


def _header(graph: GraphFile, key: EngineKey, shapes: ShapeBuckets, built: BuiltEngine, flavor: Flavor) -> EngineHeader:
    """What the file of a new engine says.

    Raises:
        BuildError: TensorRT made something else of the graph than its types say.
    """
    if built.precision != key.precision:
        raise BuildError(
            f"{flavor.title} made {built.precision} of {graph.file}, which is {key.precision}",
            "report it with the bundle's manifest.json and `trbert-deploy env`",
        )
    return EngineHeader(
        graph=graph.file,
        key=key,
        shapes=shapes,
        inputs={tensor.name: tensor.axes for tensor in graph.inputs},
        types=built.types,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(built.seconds, 2),
        serialized_bytes=len(built.serialized),
        serialized_sha256=hashlib.sha256(built.serialized).hexdigest(),
    )


def _reuse(path: Path, say: Say) -> EngineHeader | None:
    """The header of an engine that lies in the cache, whole; else None."""
    if not path.exists():
        return None
    try:
        return read_engine(path)[0]
    except EngineError as error:
        say(f"{error.message}; it is built again")
        return None
