"""Which layers suffer most from int8: measured, one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from trbert_deploy.core import strict_json
from trbert_deploy.core.precision import QuantizationForm
from trbert_deploy.core.request import Request
from trbert_deploy.core.specs import ReductionSpec
from trbert_deploy.export.graphs import Graphs
from trbert_deploy.export.quantize import Quantize, Ranges, layer_products
from trbert_deploy.export.sessions import GraphRunner, session_on
from trbert_deploy.runtimes.base import Result
from trbert_deploy.runtimes.pipeline import StagePipeline


@dataclass(frozen=True)
class LayerSensitivity:
    """What quantizing one encoder layer does, all others in float32.

    Attributes:
        layer: its number, from 0.
        stage: in which stage it runs, from 0.
        mean_difference: of all outputs of all rows, absolute; the order in which layers suffer.
        max_difference: the largest.
        flipped_tokens: for each reduction how many tokens are kept by one and dropped by the other, over all rows.
    """

    layer: int
    stage: int
    mean_difference: float
    max_difference: float
    flipped_tokens: list[int]


def measure_sensitivity(
    graphs: Graphs,
    reduction: ReductionSpec,
    ranges: Sequence[Ranges],
    requests: Sequence[Request],
    form: QuantizationForm,
    on_layer: Callable[[LayerSensitivity], None] = lambda found: None,
) -> list[LayerSensitivity]:
    """Run rows with one layer quantized, for every layer.

    Args:
        graphs: as they were traced, in float32.
        reduction: of the model.
        ranges: of each stage.
        requests: single rows.
        form: of int8.
        on_layer: called after each layer.

    Returns:
        One entry a layer, the one that suffers most first.
    """
    runner = GraphRunner(graphs.stages)
    pipeline = StagePipeline(runner, runner.inputs, reduction)
    wanted = [pipeline.run(request, want_kept=True) for request in requests]
    found = []
    for stage, graph in enumerate(graphs.stages):
        whole = runner.sessions[stage]
        for layer, names in layer_products(graph.graph, graphs.layers).items():
            runner.sessions[stage] = session_on(Quantize(ranges[stage], form, names)(graph).model)
            given = [pipeline.run(request, want_kept=True) for request in requests]
            found.append(_compare(layer, stage, given, wanted))
            on_layer(found[-1])
        runner.sessions[stage] = whole
    return sorted(found, key=lambda one: -one.mean_difference)


def _compare(layer: int, stage: int, given: Sequence[Result], wanted: Sequence[Result]) -> LayerSensitivity:
    differences = np.concatenate(
        [
            np.abs(mine.outputs[name] - theirs.outputs[name]).ravel()
            for mine, theirs in zip(given, wanted, strict=True)
            for name in theirs.outputs
        ]
    )
    flipped = [
        sum(
            len(np.setxor1d(mine.kept[reduction][0], theirs.kept[reduction][0]))
            for mine, theirs in zip(given, wanted, strict=True)
            if mine.kept is not None and theirs.kept is not None
        )
        for reduction in range(len(wanted[0].kept or []))
    ]
    return LayerSensitivity(layer, stage, float(differences.mean()), float(differences.max()), flipped)


def write_sensitivity(found: Sequence[LayerSensitivity], data: str, rows: int, path: Path) -> None:
    """Write the report as JSON."""
    report = {
        "schema_version": "1.0",
        "what": "each encoder layer quantized alone, against all in float32; the layer that suffers most first",
        "data": data,
        "rows": rows,
        "layers": [asdict(one) for one in found],
    }
    path.write_text(strict_json.dumps(report, indent=2) + "\n", encoding="utf-8")
