"""ONNX Runtime: the stages, a session each, or the fused or dense graph as one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from onnxruntime import InferenceSession, OrtValue, RunOptions, SessionOptions

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.manifest import GraphFile
from trbert_deploy.bundle.precision import require_precision
from trbert_deploy.core.errors import BundleError, DeviceError, first_line
from trbert_deploy.core.group_limits import CPU_GROUP_TOKENS, MAX_GROUP_TOKENS
from trbert_deploy.core.request import Request
from trbert_deploy.core.selection import Kept
from trbert_deploy.runtimes.base import Array, Result
from trbert_deploy.runtimes.onnxruntime.pool import session_options
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.pipeline import Pipeline, StageRunner, graphs_of, group_by_count, make_pipeline

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def run_session(
    session: InferenceSession,
    graph: GraphFile,
    feeds: Mapping[str, OrtValue | Array],
    device: str,
    options: RunOptions | None = None,
) -> dict[str, OrtValue]:
    """Run a graph; on a GPU its outputs stay there, and only what is fetched is ever copied back.

    Raises:
        DeviceError: ONNX Runtime did not do it, most often for want of memory.
    """
    values = {name: _ort_value(feeds[name]) for name in graph.input_names}
    try:
        results = _results(session, graph, values, device, options)
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise DeviceError(
            f"ONNX Runtime failed in {graph.file} on {device}: {first_line(error)}",
            "where memory ran out, a smaller batch takes less",
        ) from error
    return dict(zip(graph.output_names, results, strict=True))


def _results(
    session: InferenceSession,
    graph: GraphFile,
    values: Mapping[str, OrtValue],
    device: str,
    options: RunOptions | None,
) -> Sequence[OrtValue]:
    if device == "cpu":
        on_host: Sequence[OrtValue] = session.run_with_ort_values(graph.output_names, values, options)
        return on_host
    binding = session.io_binding()
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    for name in graph.output_names:
        binding.bind_output(name, device)
    session.run_with_iobinding(binding, options)
    on_device: Sequence[OrtValue] = binding.get_outputs()
    return on_device


class SessionRunner:
    """Runs graphs of a bundle, one session each; outputs stay on the device as OrtValues."""

    def __init__(self, bundle: Bundle, graphs: Sequence[GraphFile], device: str, options: LoadOptions) -> None:
        if device not in _PROVIDERS:
            raise DeviceError(f"unknown device {device!r}", f"one of: {', '.join(_PROVIDERS)}")
        provider = _PROVIDERS[device]
        if provider not in onnxruntime.get_available_providers():
            raise DeviceError(
                f"device {device!r} was asked for, but this ONNX Runtime has no {provider}",
                "pip uninstall onnxruntime; pip install 'trbert-deploy[gpu]'; or use --device cpu",
            )
        of_sessions = session_options(options.threads, options.share_pool, options.memory)
        require_precision(bundle, [graph.file for graph in graphs])
        self._device = device
        self._sessions = [_session(bundle.path(graph.file), provider, of_sessions) for graph in graphs]
        self._graphs = graphs
        self._run_options = _shrinking() if options.memory == "shrink" and device == "cpu" else None

    def run(self, stage: int, feeds: Mapping[str, OrtValue | Array]) -> dict[str, OrtValue]:
        """See `StageRunner.run`."""
        return run_session(self._sessions[stage], self._graphs[stage], feeds, self._device, self._run_options)

    def fetch(self, handle: OrtValue) -> Array:
        """See `StageRunner.fetch`."""
        array: Array = handle.numpy()
        return array

    def close(self) -> None:
        """Let go of the sessions."""
        self._sessions.clear()


class OrtRunner(StageRunner[OrtValue], Protocol):
    """Runs graphs by sessions."""

    def close(self) -> None:
        """Let go of the sessions."""
        ...


class SessionRuntime:
    """Graphs of a bundle, by sessions, chained by a pipeline.

    Args:
        runner: of the graphs.
        pipeline: that it is run by.
        device: where.
    """

    name = "ort"

    def __init__(self, runner: OrtRunner, pipeline: Pipeline, device: str) -> None:
        self.device = device
        self._runner = runner
        self._pipeline = pipeline

    def run(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Result:
        """See `Runtime.run`."""
        return self._pipeline.run(request, want_kept=want_kept, replay=replay)

    def close(self) -> None:
        """See `Runtime.close`."""
        self._runner.close()


def open_sessions(bundle: Bundle, options: LoadOptions) -> SessionRuntime:
    """Load a bundle: its stages, its fused graph or its dense one.

    Args:
        bundle: whose.
        options: of which mode, device, threads, share_pool, memory and group_tokens are read.

    Raises:
        BundleError: the bundle has no dense graph, or a graph does not load.
        DeviceError: the device is not there.
    """
    graphs = graphs_of(bundle, options.mode)
    device = options.device or "cpu"
    runner = SessionRunner(bundle, graphs, device, options)
    most = options.group_tokens or (CPU_GROUP_TOKENS if device == "cpu" else MAX_GROUP_TOKENS)
    group = partial(group_by_count, max_tokens=most)
    return SessionRuntime(runner, make_pipeline(bundle, options.mode, runner, group), device)


def _shrinking() -> RunOptions:
    """Give back to the system, after a run, what the arena has grown by."""
    options = RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _session(path: Path, provider: str, options: SessionOptions) -> InferenceSession:
    try:
        # Without the fallback, which would print to stdout and try the CPU; without TF32, which is not float32.
        settings = {"use_tf32": "0"} if provider == _PROVIDERS["cuda"] else {}
        session = InferenceSession(str(path), options, providers=[(provider, settings)], enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise BundleError(
            f"ONNX Runtime does not load {path}: {first_line(error)}",
            "check the bundle: trbert-deploy verify BUNDLE",
        ) from error
    if provider not in session.get_providers():
        raise DeviceError(
            f"ONNX Runtime could not start {provider} on this machine", "check the driver, or use --device cpu"
        )
    return session


def _ort_value(value: OrtValue | Array) -> OrtValue:
    return value if isinstance(value, OrtValue) else OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value))
