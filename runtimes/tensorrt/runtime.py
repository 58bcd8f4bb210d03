"""The runtime `trt`: TensorRT engines of a bundle's stages, of its fused or of its dense graph."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.precision import require_precision
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.request import Request
from trbert_deploy.core.selection import Kept
from trbert_deploy.runtimes.base import Result
from trbert_deploy.runtimes.engines_folder import engines_folder
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.pipeline import Pipeline, graphs_of, make_pipeline
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.cuda import CudaDevice, read_gpu
from trbert_deploy.runtimes.tensorrt.device import Device, StageEngine
from trbert_deploy.runtimes.tensorrt.engine import TensorRTEngine
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineCache, read_engine
from trbert_deploy.runtimes.tensorrt.engine_choice import select_engines
from trbert_deploy.runtimes.tensorrt.flavor import find_flavor, installed_flavors
from trbert_deploy.runtimes.tensorrt.gpu import Here
from trbert_deploy.runtimes.tensorrt.worker import Worker
from trbert_deploy.runtimes.tensorrt_checks import check_mode


class TensorRTRuntime:
    """Answers requests by engines; each caller has a worker of its own, and workers are kept for the next one.

    Args:
        device: where the engines are.
        engines: one a stage, or one.
        shapes: they were built for.
        bundle: whose.
        mode: ``"staged"``, ``"fused"`` or ``"dense"``.
    """

    def __init__(
        self, device: Device, engines: Sequence[StageEngine], shapes: ShapeBuckets, bundle: Bundle, mode: str = "staged"
    ) -> None:
        self.name = "trt"
        self.device = "cuda"
        self._device = device
        self._engines = engines
        self._shapes = shapes
        self._bundle = bundle
        self._mode = mode
        self._free: list[tuple[Worker, Pipeline]] = []
        self._lock = threading.Lock()
        self._closed = False

    def run(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Result:
        """See `Runtime.run`."""
        with self._pipeline() as pipeline:
            return pipeline.run(request, want_kept=want_kept, replay=replay)

    def close(self) -> None:
        """See `Runtime.close`; a worker in use is closed when its caller is done."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        self._device.activate()
        for worker, _ in free:
            worker.close()

    @contextlib.contextmanager
    def _pipeline(self) -> Iterator[Pipeline]:
        """A worker's pipeline, for one caller."""
        self._device.activate()
        with self._lock:
            if self._closed:
                raise TRBertError("the runtime is closed", "load the bundle again")
            worker, pipeline = self._free.pop() if self._free else (None, None)
        if worker is None or pipeline is None:
            worker = Worker(self._device, self._engines, self._shapes, self._bundle.manifest.task)
            pipeline = make_pipeline(self._bundle, self._mode, worker, self._shapes.group)
        try:
            yield pipeline
        finally:
            with self._lock:
                if not self._closed:
                    self._free.append((worker, pipeline))
                    worker = None
            if worker is not None:
                worker.close()


def open_runtime(bundle: Bundle, options: LoadOptions) -> TensorRTRuntime:
    """Load a bundle's engines.

    Args:
        bundle: whose.
        options: of which mode and engines are read.

    Raises:
        BuildError: TensorRT does not take the graphs of this mode.
        DeviceError: there is no driver or no GPU.
        MissingExtraError: no TensorRT is installed.
        EngineError: there is no engine that runs here, or one is not what its header or the bundle says; says why and
            which command builds it.
    """
    check_mode(bundle, options.mode)
    graphs = graphs_of(bundle, options.mode)
    require_precision(bundle, [graph.file for graph in graphs])
    find_flavor()  # an error where there is none
    flavors = installed_flavors()
    here = Here({name: flavor.version for name, flavor in flavors.items()}, read_gpu())
    cache = EngineCache(options.engines or engines_folder(bundle))
    paths = select_engines(cache, bundle, [graph.file for graph in graphs], here)
    device = CudaDevice()
    loaded = [read_engine(path) for path in paths]
    engines = [
        TensorRTEngine(flavors[header.key.flavor], header, serialized, graph, device)
        for graph, (header, serialized) in zip(graphs, loaded, strict=True)
    ]
    return TensorRTRuntime(device, engines, loaded[0][0].shapes, bundle, options.mode)
