"""Tracing with a memory on disk: it takes seconds, and many tests are about what becomes of the same graph."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
from disk_cache import cached


def stage(model: Any, index: int, by_budget: bool) -> onnx.ModelProto:
    """As `trbert_deploy.export.trace.trace_stage`, as a message."""
    by_budget = by_budget and index < model.num_stages - 1  # the last stage is the same in both modes
    name = f"stage_{index}_{'budget' if by_budget else 'policy'}"
    return _remembered(model, name, lambda: _tracer()(model, index, by_budget))


def dense(model: Any) -> onnx.ModelProto:
    """As `trbert_deploy.export.trace.trace_dense`, as a message."""
    return stage(model.without_reduction(), 0, by_budget=False)


@contextlib.contextmanager
def traced_once() -> Iterator[None]:
    """While this is open, exports trace no graph that was traced before."""
    from trbert_deploy.export.graphs import from_message

    _tracer()  # the real one, before another takes its place

    def remembered(model: Any, index: int, by_budget: bool) -> ir.Model:
        return from_message(stage(model, index, by_budget))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trbert_deploy.export.trace.trace_stage", remembered)
        yield


@contextlib.contextmanager
def operators_read_once() -> Iterator[None]:
    """While this is open, torch reads its table of operators for the first graph, not for each: a sixth of the time."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        table = functools.cache(ONNXRegistry.from_torchlib.__func__)  # type: ignore[attr-defined]
        patch.setattr(ONNXRegistry, "from_torchlib", classmethod(table))
        yield


@functools.cache
def _tracer() -> Callable[[Any, int, bool], ir.Model]:
    from trbert_deploy.export.trace import trace_stage

    return trace_stage


def _remembered(model: Any, name: str, trace: Callable[[], ir.Model]) -> onnx.ModelProto:
    def make(path: Path) -> None:
        from trbert_deploy.export.graphs import to_message

        onnx.save(to_message(trace()), path)

    return onnx.load(cached(f"graphs/{_key(model)}/{name}.onnx", make))


def _key(model: Any) -> str:
    """A hash of all that a model's graphs are made of."""
    told = ("keep", "id2label", "label2id", "architectures", "dtype")  # not the graphs', or what saving notes
    config = {name: value for name, value in model.config.to_dict().items() if name not in told}
    digest = hashlib.sha256(f"{type(model).__name__} {json.dumps(config, sort_keys=True, default=str)}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]
