"""Workers above TensorRT: over engines in memory, and on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from small_models import Arrays
from traced_graphs import Traced

from trbert_deploy.bundle import Bundle
from trbert_deploy.core.request import Request, check_request
from trbert_deploy.core.specs import ReductionSpec
from trbert_deploy.runtimes.base import Result
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.pipeline import StagePipeline
from trbert_deploy.runtimes.profiles import choose_profile
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.building import build_engines
from trbert_deploy.runtimes.tensorrt.runtime import open_runtime
from trbert_deploy.runtimes.tensorrt.worker import Worker

SHAPES = ShapeBuckets(lengths=(16, 40, 64), kept=((8, 24, 64), (4, 16, 64)), rows=4, entries=6)


def request_of(model: Any, batch: Arrays) -> Request:
    """A batch as a runtime takes it."""
    return check_request(model.spec, batch)


def reduction_of(model: Any, keep: Sequence[float]) -> ReductionSpec:
    """How a model reduces: by budgets, or by its policy where there are none."""
    return ReductionSpec(
        model.reduction.name,
        tuple(model.config.reduction_layers),
        mode="budget" if keep else "policy",
        fractions=tuple(keep),
        full_length=model.full_length,
    )


class Setup:
    """A model's stages in a worker over a device in memory."""

    tolerance = 2e-5

    def __init__(
        self, case: Traced, keep: Sequence[float], engines: Sequence[Any], device: Any, shapes: ShapeBuckets = SHAPES
    ) -> None:
        self.model, self.keep, self.engines, self.device = case.model, keep, engines, device
        self.worker = Worker(device, engines, shapes, case.model.spec)
        inputs = [list(engine.inputs) for engine in engines]
        self.pipeline = StagePipeline(self.worker, inputs, reduction_of(case.model, keep), group=shapes.group)

    def run(self, batch: Arrays, want_kept: bool = True, replay: Any = None) -> Result:
        return self.pipeline.run(request_of(self.model, batch), want_kept=want_kept, replay=replay)

    def assert_captured_in_buckets(self) -> None:
        assert self.device.captured > 0
        for engine in self.engines:
            for shapes in engine.ran:
                if "input_ids" in shapes:
                    assert shapes["input_ids"][-1] in SHAPES.lengths
                    assert shapes["input_ids"][0] in (1, 2, 3, 4)
                else:
                    assert shapes["rows"][0] in (1, 2, 3, 4)
                    assert shapes["hidden_states"][0] == SHAPES.rows

    def close(self) -> None:
        self.worker.close()
        assert self.device.blocks == {}
        assert self.device.streams == {}


class OnGpu:
    """The same on a GPU, with engines that TensorRT built and runs."""

    tolerance = 1e-4

    def __init__(self, bundle: Bundle, model: Any, keep: Sequence[float], folder: Path) -> None:
        self.model, self.keep = model, keep
        build_engines(bundle, SHAPES, folder=folder)
        self.runtime = open_runtime(bundle, LoadOptions(runtime="trt", engines=folder))

    def run(self, batch: Arrays, want_kept: bool = True, replay: Any = None) -> Result:
        return self.runtime.run(request_of(self.model, batch), want_kept=want_kept, replay=replay)

    def assert_captured_in_buckets(self) -> None:
        ((worker, _),) = self.runtime._free
        assert worker._calls
        for (stage, shapes, _), call in worker._calls.items():
            engine = worker._engines[stage]
            assert (call.captured is not None) is engine.to_capture  # TensorRT-RTX captures by itself
            axes = [axis for names in engine.inputs.values() for axis in names]
            sizes = {axis: size for axis, size in zip(axes, sum(shapes, ()), strict=True) if isinstance(axis, str)}
            assert sizes["batch"] in (1, 2, 3, 4)
            assert stage > 0 or sizes["length"] in SHAPES.lengths
            assert stage == 0 or sizes["batch_before"] == SHAPES.rows
            assert call.context._context.active_optimization_profile == choose_profile(engine.profiles, sizes)

    def close(self) -> None:
        self.runtime.close()


def engines_of(
    host_engines: Callable[..., Any], case: Traced, graphs: Sequence[Any], device: Any, shapes: ShapeBuckets = SHAPES
) -> Any:
    """Engines in memory of a model's graphs."""
    return host_engines(graphs, shapes, case.model.spec, device, full_length=case.model.full_length)


def assert_answers(given_result: Result, wanted: Arrays, wanted_kept: list, tolerance: float = Setup.tolerance) -> None:
    """A result is what forward gives, and its kept sets are the same."""
    assert [[row.tolist() for row in step] for step in given_result.kept] == wanted_kept
    assert given_result.outputs.keys() == wanted.keys()
    for name, array in wanted.items():
        assert given_result.outputs[name].shape == array.shape
        np.testing.assert_allclose(given_result.outputs[name], array, rtol=0, atol=tolerance)
