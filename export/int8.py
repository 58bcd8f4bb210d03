"""float32 graphs become int8: ranges are taken from data, layers that suffer most may be left out, others quantized."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trbert_deploy.bundle.manifest import QuantizationFacts
from trbert_deploy.core.request import Request
from trbert_deploy.core.specs import ReductionSpec
from trbert_deploy.export.calibration import calibrate
from trbert_deploy.export.calibration_rows import CALIBRATION_ROWS, SENSITIVITY_ROWS
from trbert_deploy.export.graphs import DENSE_FILE, Graphs, stage_file
from trbert_deploy.export.options import ExportOptions
from trbert_deploy.export.quantize import Quantize, Ranges, layer_products
from trbert_deploy.export.sensitivity import measure_sensitivity, write_sensitivity

_SENSITIVITY_FILE = "sensitivity.json"


def quantize(
    graphs: Graphs,
    reduction: ReductionSpec,
    rows: tuple[str, Sequence[Request]],
    options: ExportOptions,
    folder: Path,
    progress: Callable[[str], None],
) -> tuple[Graphs, QuantizationFacts]:
    """Quantize every graph, and write which layers suffer from it.

    Needs: graphs as they were traced, in float32.
    Ensures: the products of all encoder layers but `options.fp32_layers` of them are int8, in the stages and in the
    dense graph alike; there is no fused graph.

    Args:
        graphs: are not changed.
        reduction: of the model.
        rows: name of the data and single rows, see `read_requests`.
        options: form and number of layers that stay in float32.
        folder: of the bundle, for the report.
        progress: is given a line for every step.
    """
    name, requests = rows
    to_calibrate = requests[:CALIBRATION_ROWS]
    ranges = _ranges(graphs, reduction, to_calibrate)
    progress(f"int8: ranges of activations from {len(to_calibrate)} rows of {name}")
    others = requests[CALIBRATION_ROWS:] or requests[:SENSITIVITY_ROWS]
    found = measure_sensitivity(
        graphs,
        reduction,
        [ranges[stage_file(index)] for index in range(len(graphs.stages))],
        others,
        options.int8_form,
        lambda one: progress(f"int8: layer {one.layer} alone changes outputs by {one.mean_difference:.2g} on average"),
    )
    write_sensitivity(found, name, len(others), folder / _SENSITIVITY_FILE)
    spared = {one.layer for one in found[: options.fp32_layers]}
    names = {
        file: [
            name
            for layer, own in layer_products(graph.graph, graphs.layers).items()
            if layer not in spared
            for name in own
        ]
        for file, graph in graphs.named()
    }
    quantized = graphs.apply(lambda file: Quantize(ranges[file], options.int8_form, names[file]))
    progress(f"int8: {len(found) - len(spared)} of {len(graphs.layers)} layers quantized")
    facts = QuantizationFacts(
        form=options.int8_form,
        calibration=name,
        calibration_rows=len(to_calibrate),
        fp32_layers=sorted(spared),
        sensitivity=_SENSITIVITY_FILE,
    )
    return quantized, facts


def _ranges(graphs: Graphs, reduction: ReductionSpec, rows: Sequence[Request]) -> dict[str, Ranges]:
    """Ranges of each graph, by its file."""
    files = [stage_file(index) for index in range(len(graphs.stages))]
    ranges = dict(zip(files, calibrate(graphs.stages, reduction, rows), strict=True))
    if graphs.dense is not None:
        (ranges[DENSE_FILE],) = calibrate([graphs.dense], reduction.dense, rows)
    return ranges
