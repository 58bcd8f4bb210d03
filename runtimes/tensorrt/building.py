"""`build`: a bundle and settings in, an engine for each graph in the cache, a report out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.manifest import GraphFile
from trbert_deploy.bundle.precision import require_precisions
from trbert_deploy.runtimes.engines_folder import engines_folder
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.cached_build import BuildTarget, EngineReport, cached_engine
from trbert_deploy.runtimes.tensorrt.engine_cache import ANY, EngineCache
from trbert_deploy.runtimes.tensorrt.flavor import Flavor, find_flavor
from trbert_deploy.runtimes.tensorrt.gpu import find_gpu
from trbert_deploy.runtimes.tensorrt.messages import Say
from trbert_deploy.runtimes.tensorrt.options import BuildSettings
from trbert_deploy.runtimes.tensorrt_checks import BuildError, check_fused, check_int8_form


@dataclass(frozen=True)
class BuildReport:
    """What `build_engines` did."""

    folder: str
    flavor: str
    tensorrt: str
    compute_capability: str
    driver: str
    shapes: ShapeBuckets
    engines: list[EngineReport]


def build_engines(
    bundle: Bundle,
    shapes: ShapeBuckets,
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
        shapes: to build for.
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
    found = find_flavor(flavor)
    graphs = graphs_to_build(bundle, fused=fused)
    bundle.require_intact([graph.file for graph, _ in graphs])
    require_precisions(bundle)
    target = _target(found, settings or BuildSettings())
    cache = EngineCache(folder or engines_folder(bundle))
    capability = target.compute_capability
    where = "every GPU from compute capability 8.0 on" if capability == ANY else f"compute capability {capability}"
    say(f"{found.title}, for {where}")
    engines = [cached_engine(bundle, graph, stage, shapes, target, cache, say) for graph, stage in graphs]
    return BuildReport(str(cache.folder), found.name, found.version, capability, target.driver, shapes, engines)


def graphs_to_build(bundle: Bundle, *, fused: bool) -> list[tuple[GraphFile, int]]:
    """The graphs, each with the stage whose shapes it takes.

    Raises:
        BuildError: TensorRT cannot take them, or not the fused graph that was asked for.
    """
    manifest = bundle.manifest
    check_int8_form(bundle)
    graphs = [(graph, stage) for stage, graph in enumerate(manifest.stages)]
    if manifest.dense is not None:
        graphs.append((manifest.dense, 0))
    if fused:
        check_fused(bundle)
        graphs.append((manifest.fused, 0))
    return graphs


def _target(flavor: Flavor, settings: BuildSettings) -> BuildTarget:
    """What to build for.

    Raises:
        BuildError: the full TensorRT needs the GPU at hand, and there is none.
    """
    gpu = find_gpu()
    if flavor.name == "rtx" or gpu is None:
        if flavor.name == "tensorrt":
            raise BuildError(
                f"{flavor.title} builds on the GPU that the engine is for, and there is none here",
                "build there; or build for TensorRT-RTX: --flavor rtx",
            )
        return BuildTarget(flavor, settings, settings.compute_capability or ANY, ANY)
    return BuildTarget(flavor, settings, settings.compute_capability or gpu.compute_capability, gpu.driver)
