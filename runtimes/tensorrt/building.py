"""`build`: a bundle and settings in, an engine for each graph in the cache, a report out."""

from __future__ import annotations

import datetime
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trbert_deploy.bundle import Bundle, GraphFile
from trbert_deploy.bundle.precision import graph_precision, require_precisions
from trbert_deploy.core.errors import BundleError
from trbert_deploy.runtimes.tensorrt.buckets import Grid, Profile, stage_profiles
from trbert_deploy.runtimes.tensorrt.builder import BuildError, BuildSettings, build_plan
from trbert_deploy.runtimes.tensorrt.engine_cache import (
    ANY,
    EngineError,
    EngineHeader,
    EngineKey,
    EngineStore,
    engines_folder,
    read_engine,
)
from trbert_deploy.runtimes.tensorrt.flavor import Flavor, find_flavor
from trbert_deploy.runtimes.tensorrt.gpu import find_gpu

Say = Callable[[str], None]


@dataclass(frozen=True)
class BuiltEngine:
    """One engine of a report.

    Attributes:
        graph: the ONNX file.
        file: the engine's.
        precision: of the graph, and of what TensorRT made of it.
        profiles: how many it has.
        bytes: of its plan.
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


@dataclass(frozen=True)
class BuildReport:
    """What `build_engines` did."""

    folder: str
    flavor: str
    tensorrt: str
    compute_capability: str
    driver: str
    grid: Grid
    engines: list[BuiltEngine]


def build_engines(
    bundle: Bundle,
    grid: Grid,
    *,
    flavor: str = "auto",
    settings: BuildSettings | None = None,
    fused: bool = False,
    folder: Path | None = None,
    say: Say = lambda line: None,
) -> BuildReport:
    """Build the engines of a bundle's stages and of its dense graph, where they are not in the cache.

    Args:
        bundle: whose graphs.
        grid: the shapes to build for.
        flavor: ``"tensorrt"``, ``"rtx"`` or ``"auto"``.
        settings: for the builder.
        fused: whether to build model.onnx too.
        folder: of the engines; by default beside the bundle.
        say: is given progress and TensorRT's messages, a line each.

    Raises:
        BuildError: TensorRT does not take a graph, or not in its precision, or cannot as `fused` was asked for.
        BundleError: the bundle is damaged, or its graphs are of another precision than it says.
        MissingExtraError: TensorRT is not installed.
    """
    settings = settings or BuildSettings()
    found = find_flavor(flavor)
    graphs = graphs_to_build(bundle, fused=fused)
    bundle.require_intact([graph for graph, _ in graphs])
    require_precisions(bundle)
    gpu = find_gpu()
    if gpu is None and found.name == "tensorrt":
        raise BuildError(
            f"{found.title} builds on the GPU that the engine is for, and there is none here",
            "build there; or build for TensorRT-RTX: --flavor rtx",
        )
    portable = found.name == "rtx"
    capability = settings.compute_capability or (ANY if portable or gpu is None else gpu.compute_capability)
    driver = ANY if portable or gpu is None else gpu.driver
    store = EngineStore(folder or engines_folder(bundle))
    where = "every GPU from compute capability 8.0 on" if capability == ANY else f"compute capability {capability}"
    say(f"{found.title}, for {where}")
    restores = bundle.manifest.reduction.full_length
    engines = []
    for graph, stage in graphs:
        profiles = stage_profiles(grid, stage, restores=restores)
        key = EngineKey(
            graph_sha256=bundle.manifest.files[graph].sha256,
            precision=graph_precision(bundle.path(graph)).name,
            profiles=tuple(profiles),
            flavor=found.name,
            tensorrt=found.version,
            compute_capability=capability,
            driver=driver,
            workspace_mib=settings.workspace_mib,
            optimization_level=settings.optimization_level,
        )
        engines.append(_make(bundle, graph, key, grid, found, settings, store, say))
    return BuildReport(str(store.folder), found.name, found.version, capability, driver, grid, engines)


def graphs_to_build(bundle: Bundle, *, fused: bool) -> list[tuple[str, int]]:
    """The graphs' files, each with the stage whose shapes it takes.

    Raises:
        BuildError: TensorRT cannot take them, or not the fused graph that was asked for.
    """
    manifest = bundle.manifest
    check_int8_form(bundle)
    graphs = [(graph.file, stage) for stage, graph in enumerate(manifest.stages)]
    if manifest.dense is not None:
        graphs.append((manifest.dense.file, 0))
    if fused:
        check_fused(bundle)
        graphs.append((manifest.fused.file, 0))
    return graphs


def graphs_of(bundle: Bundle, mode: str) -> list[GraphFile]:
    """The graphs that a mode runs.

    Raises:
        BundleError: the bundle has no dense graph.
        BuildError: the graphs, or the fused one, are none for TensorRT.
    """
    manifest = bundle.manifest
    check_int8_form(bundle)
    if mode == "staged":
        return list(manifest.stages)
    if mode == "fused":
        check_fused(bundle)
        return [manifest.fused]
    if manifest.dense is None:
        raise BundleError(f"the bundle {bundle.folder} has no dense graph", "export it again with --with-dense")
    return [manifest.dense]


def check_int8_form(bundle: Bundle) -> None:
    """See to it that int8 has the form that TensorRT takes; see `trbert_deploy.export.quantize`.

    Raises:
        BuildError: it has the other one.
    """
    facts = bundle.manifest.quantization
    if facts is not None and facts.form != "tensorrt":
        raise BuildError(
            f"the int8 graphs of {bundle.folder} have the form for CPUs, with zero points that TensorRT refuses",
            "export it again: --precision int8 --int8-form tensorrt",
        )


def check_fused(bundle: Bundle) -> None:
    """See to it that the shapes within the fused graph follow from those of its inputs.

    Where they depend on the data, no profile holds them and nothing can be allocated before it has run. TensorRT-RTX
    1.7 does build such a graph all the same; whether and how it runs has not been tried.

    Raises:
        BuildError: how many tokens its later layers run over depends on the data.
    """
    manifest = bundle.manifest
    if manifest.reduction.mode == "policy" and manifest.reduction.layers:
        why, mend = "in policy mode", "; or export it in budget mode: --selection budget --keep 0.4,0.15"
    elif manifest.task.protected_from is not None and manifest.reduction.layers:
        why, mend = "in multiple choice, where every token of a question is kept,", ""
    else:
        return
    raise BuildError(
        f"{manifest.fused.file} is no graph for TensorRT: {why} the number of tokens that go on depends on the data",
        f"the stages are made for that: build and run without the fused graph{mend}",
    )


def _make(
    bundle: Bundle,
    graph: str,
    key: EngineKey,
    grid: Grid,
    flavor: Flavor,
    settings: BuildSettings,
    store: EngineStore,
    say: Say,
) -> BuiltEngine:
    path = store.path(graph, key)
    with store.locked(path):
        header = _reuse(path, say)
        reused = header is not None
        if header is None:
            say(f"{graph}: {_count(key.profiles)} ...")
            start = time.perf_counter()
            built = build_plan(flavor, bundle.path(graph), graph, key.profiles, settings, say)
            if built.precision != key.precision:
                raise BuildError(
                    f"{flavor.title} made {built.precision} of {graph}, which is {key.precision}",
                    "report it with the bundle's manifest.json and `trbert-deploy env`",
                )
            header = EngineHeader(
                graph=graph,
                key=key,
                grid=grid,
                inputs={name: tuple(axes) for name, axes in built.inputs.items()},
                types=built.types,
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                seconds=round(built.seconds, 2),
                plan_bytes=len(built.plan),
                plan_sha256=hashlib.sha256(built.plan).hexdigest(),
            )
            store.write(header, built.plan)
            size = header.plan_bytes / 2**20
            say(f"{graph}: {key.precision}, {size:.1f} MiB in {time.perf_counter() - start:.1f} s")
        else:
            os.utime(path)  # asked for last: of several sets of engines the runtime takes this one
            say(f"{graph}: in the cache ({path.name})")
    return BuiltEngine(graph, path.name, key.precision, len(key.profiles), header.plan_bytes, header.seconds, reused)


def _reuse(path: Path, say: Say) -> EngineHeader | None:
    if not path.exists():
        return None
    try:
        return read_engine(path)[0]
    except EngineError as error:
        say(f"{error.message}; it is built again")
        return None


def _count(profiles: Sequence[Profile]) -> str:
    return f"building with {len(profiles)} profile{'s' if len(profiles) > 1 else ''}"
