"""A runtime of another package: the reference evaluator of the onnx package, slow and plain."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trbert_deploy.bundle import Bundle
from trbert_deploy.core.extras import require
from trbert_deploy.core.request import Request
from trbert_deploy.core.selection import Kept
from trbert_deploy.runtimes.base import Array, Result, Runtime
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.pipeline import graphs_of, make_pipeline
from trbert_deploy.runtimes.registry import RuntimePart


def evaluator(path: str) -> Any:
    """onnx's evaluator, whose own GatherElements (onnx 1.23) takes no more than 64 places to gather from."""
    reference = require("onnx.reference", "runtime 'onnx-reference'")
    op_run = require("onnx.reference.op_run", "runtime 'onnx-reference'")

    class GatherElements(op_run.OpRun):
        def _run(self, data: Array, indices: Array, axis: int = 0) -> tuple[Array]:
            return (np.take_along_axis(data, indices, axis),)

    return reference.ReferenceEvaluator(path, new_ops=[GatherElements])


class Evaluators:
    """Runs the graphs of a bundle as stages."""

    def __init__(self, bundle: Bundle, mode: str) -> None:
        self._graphs = graphs_of(bundle, mode)
        self._evaluators = [evaluator(str(bundle.path(graph.file))) for graph in self._graphs]

    def run(self, stage: int, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """One stage."""
        graph = self._graphs[stage]
        given = {name: feeds[name] for name in graph.input_names}
        return dict(zip(graph.output_names, self._evaluators[stage].run(None, given), strict=True))

    def fetch(self, handle: Array) -> Array:
        """Everything is on the host."""
        return handle


class EvaluatorRuntime:
    """A bundle's graphs, chained by the pipeline that all runtimes share."""

    name = "onnx-reference"
    device = "cpu"

    def __init__(self, bundle: Bundle, mode: str) -> None:
        self._pipeline = make_pipeline(bundle, mode, Evaluators(bundle, mode))

    def run(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Result:
        """Run a batch."""
        return self._pipeline.run(request, want_kept=want_kept, replay=replay)

    def close(self) -> None:
        """Nothing is held."""


class OnnxReference(RuntimePart):
    """See `RuntimePart`."""

    name = "onnx-reference"
    title = "onnx's reference evaluator"
    what = "the reference evaluator of the onnx package"
    packages = {"onnx": "export"}
    targets = {"onnx-reference": (None, "cpu")}

    def open(self, bundle: Bundle, options: LoadOptions) -> Runtime:
        """Load a bundle."""
        return EvaluatorRuntime(bundle, options.mode)


RUNTIME = OnnxReference()
