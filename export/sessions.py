"""Run graphs that are in memory, by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir
import onnxruntime

from trbert_deploy.export.graphs import to_message
from trbert_deploy.runtimes.base import Array
from trbert_deploy.runtimes.onnxruntime.pool import pool_is_shared


def session_options() -> onnxruntime.SessionOptions:
    """Options of a session on the pool that the process's engines share, if they do."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.use_per_session_threads = not pool_is_shared()
    return options


def session_on(graph: ir.Model) -> onnxruntime.InferenceSession:
    """A session on a graph, which is written to bytes and to no file."""
    content = to_message(graph).SerializeToString()
    return onnxruntime.InferenceSession(content, session_options(), providers=["CPUExecutionProvider"])


class GraphRunner:
    """Runs graphs as stages; a `StageRunner` whose handles are arrays."""

    def __init__(self, graphs: Sequence[ir.Model]) -> None:
        self.sessions = [session_on(graph) for graph in graphs]

    @property
    def inputs(self) -> list[list[str]]:
        """For each graph the names of its inputs."""
        return [[value.name for value in session.get_inputs()] for session in self.sessions]

    def run(self, stage: int, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `StageRunner.run`."""
        session = self.sessions[stage]
        names = [value.name for value in session.get_outputs()]
        given = {value.name: feeds[value.name] for value in session.get_inputs()}
        return dict(zip(names, session.run(names, given), strict=True))

    def fetch(self, handle: Array) -> Array:
        """See `StageRunner.fetch`."""
        return handle
