"""The runtime `trt`: TensorRT engines of a bundle's stages, of its fused or of its dense graph."""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.precision import require_precision
from trbert_deploy.core.errors import DeviceError, TRBertError
from trbert_deploy.core.request import Request
from trbert_deploy.core.selection import Kept
from trbert_deploy.runtimes.base import Result
from trbert_deploy.runtimes.pipeline import FusedPipeline, StagePipeline
from trbert_deploy.runtimes.tensorrt.buckets import Grid
from trbert_deploy.runtimes.tensorrt.building import graphs_of
from trbert_deploy.runtimes.tensorrt.cuda import CudaDevice, read_gpu
from trbert_deploy.runtimes.tensorrt.engine import PlanEngine
from trbert_deploy.runtimes.tensorrt.engine_cache import (
    EngineError,
    EngineStore,
    engines_folder,
    read_engine,
    read_header,
)
from trbert_deploy.runtimes.tensorrt.flavor import find_flavor, installed_flavors
from trbert_deploy.runtimes.tensorrt.gpu import Here, invalid_because
from trbert_deploy.runtimes.tensorrt.worker import Device, DeviceTensor, Lane, StageEngine

Pipeline = StagePipeline[DeviceTensor] | FusedPipeline[DeviceTensor]


class PlanRuntime:
    """Answers requests by engines; each caller has a lane of its own, and lanes are kept for the next one.

    Args:
        device: where the engines are.
        engines: one a stage, or one.
        grid: the shapes they were built for.
        bundle: whose.
        mode: ``"staged"``, ``"fused"`` or ``"dense"``.
    """

    def __init__(
        self, device: Device, engines: Sequence[StageEngine], grid: Grid, bundle: Bundle, mode: str = "staged"
    ) -> None:
        self.name = "trt"
        self.device = "cuda"
        self._device = device
        self._engines = engines
        self._grid = grid
        self._bundle = bundle
        self._mode = mode
        self._per_token = frozenset(output.name for output in bundle.manifest.task.outputs if output.per_token)
        self._free: list[tuple[Lane, Pipeline]] = []
        self._lock = threading.Lock()
        self._closed = False

    def run(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Result:
        """See `Runtime.run`."""
        with self._lane() as pipeline:
            return pipeline.run(request, want_kept=want_kept, replay=replay)

    def close(self) -> None:
        """See `Runtime.close`; a lane in use is closed when its caller is done."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        self._device.activate()
        for lane, _ in free:
            lane.close()

    @contextlib.contextmanager
    def _lane(self) -> Iterator[Pipeline]:
        self._device.activate()
        with self._lock:
            if self._closed:
                raise TRBertError("the runtime is closed", "load the bundle again")
            lane, pipeline = self._free.pop() if self._free else (None, None)
        if lane is None or pipeline is None:
            lane = Lane(self._device, self._engines, self._grid, self._per_token)
            pipeline = self._pipeline(lane)
        try:
            yield pipeline
        finally:
            with self._lock:
                if not self._closed:
                    self._free.append((lane, pipeline))
                    lane = None
            if lane is not None:
                lane.close()

    def _pipeline(self, lane: Lane) -> Pipeline:
        manifest = self._bundle.manifest
        graphs = graphs_of(self._bundle, self._mode)
        if self._mode == "fused":
            reductions = len(manifest.reduction.layers)
            return FusedPipeline(lane, graphs[0].inputs, manifest.task_facts, reductions, plan=lane.plan)
        keep = manifest.reduction.fractions if self._mode == "staged" else ()
        return StagePipeline(lane, [graph.inputs for graph in graphs], keep, plan=lane.plan)


def open_runtime(
    bundle: Bundle, *, mode: str = "staged", device: str = "cuda", folder: Path | None = None
) -> PlanRuntime:
    """Load a bundle's engines.

    Args:
        bundle: whose.
        mode: ``"staged"``, ``"fused"`` or ``"dense"``.
        device: ``"cuda"``; there is no other.
        folder: of the engines; by default beside the bundle.

    Raises:
        DeviceError: there is no driver or no GPU.
        MissingExtraError: no TensorRT is installed.
        EngineError: there is no engine that runs here, or one is not what its header or the bundle says; says why and
            which command builds it.
    """
    if device != "cuda":
        raise DeviceError(f"runtime 'trt' does not run on device {device!r}", "--device cuda, or --runtime ort")
    graphs = graphs_of(bundle, mode)
    require_precision(bundle, [graph.file for graph in graphs])
    find_flavor()  # an error where there is none
    flavors = installed_flavors()
    here = Here({name: flavor.version for name, flavor in flavors.items()}, read_gpu())
    store = EngineStore(folder or engines_folder(bundle))
    paths = select_engines(store, bundle, [graph.file for graph in graphs], here)
    cuda = CudaDevice()
    loaded = [read_engine(path) for path in paths]
    engines = [
        PlanEngine(flavors[header.key.flavor], header, plan, graph, cuda)
        for graph, (header, plan) in zip(graphs, loaded, strict=True)
    ]
    return PlanRuntime(cuda, engines, loaded[0][0].grid, bundle, mode)


def select_engines(store: EngineStore, bundle: Bundle, graphs: Sequence[str], here: Here) -> list[Path]:
    """An engine for each graph, all of one build: of several that run here the one built or asked for last.

    Raises:
        EngineError: there is none; says why the last one does not run here.
    """
    command = f"trbert-deploy build {shlex.quote(str(bundle.folder))}"
    found: dict[tuple[Grid, str], dict[str, Path]] = {}
    reasons: dict[str, str] = {}
    for path in store:
        try:
            header = read_header(path)
        except EngineError as error:
            reasons.setdefault("", error.message)
            continue
        if header.graph not in graphs:
            continue
        if reason := invalid_because(header, bundle, here):
            reasons.setdefault(header.graph, f"{path.name}: {reason}")
            continue
        build = found.setdefault((header.grid, header.key.flavor), {})
        build.setdefault(header.graph, path)
    for build in found.values():
        if all(graph in build for graph in graphs):
            return [build[graph] for graph in graphs]
    lacking = [graph for graph in graphs if not any(graph in build for build in found.values())]
    missing = (lacking or graphs)[0]
    why = reasons.get(missing) or reasons.get("") or f"{store.folder} holds none"
    fused = " --fused" if graphs == [bundle.manifest.fused.file] else ""
    raise EngineError(f"there is no TensorRT engine of {missing} that runs here ({why})", f"{command}{fused}")
