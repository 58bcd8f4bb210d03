"""Tracing with a memory on disk: it takes seconds, and many tests are about what becomes of the same graph."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from disk_cache import cached


def stage(model: Any, index: int, by_budget: bool) -> onnx.ModelProto:
    """As `trbert_deploy.export.trace.trace_stage`."""
    from trbert_deploy.export.trace import trace_stage

    by_budget = by_budget and index < model.num_stages - 1  # the last stage is the same in both modes
    name = f"stage_{index}_{'budget' if by_budget else 'policy'}"
    return _remembered(model, name, lambda: trace_stage(model, index, by_budget))


def dense(model: Any) -> onnx.ModelProto:
    """As `trbert_deploy.export.trace.trace_dense`."""
    from trbert_deploy.export.trace import trace_dense

    return _remembered(model, "dense", lambda: trace_dense(model))


@contextlib.contextmanager
def traced_once() -> Iterator[None]:
    """While this is open, exports trace no graph that was traced before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trbert_deploy.export.exporter.trace_stage", stage)
        patch.setattr("trbert_deploy.export.exporter.trace_dense", dense)
        yield


def _remembered(model: Any, name: str, trace: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
    def make(path: Path) -> None:
        onnx.save(trace(), path)

    return onnx.load(cached(f"graphs/{_key(model)}/{name}.onnx", make))


def _key(model: Any) -> str:
    """A hash of all that a model's graphs are made of."""
    config = {name: value for name, value in model.config.to_dict().items() if name != "keep"}
    digest = hashlib.sha256(f"{type(model).__name__} {json.dumps(config, sort_keys=True, default=str)}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]
