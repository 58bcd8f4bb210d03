"""A float32 bundle becomes one of another precision, in its temporary folder, before anyone sees it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onnxruntime.quantization.calibrate import TensorsData

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.manifest import QuantizationFacts, QuantizationForm
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.specs import ReductionSpec, TaskSpec
from trbert_deploy.export.calibration import CALIBRATION_ROWS, SENSITIVITY_ROWS, calibrate, read_requests, require_rows
from trbert_deploy.export.graphs import rewrite_graphs
from trbert_deploy.export.half import to_half
from trbert_deploy.export.quantize import PRODUCTS, to_int8
from trbert_deploy.export.sensitivity import measure_sensitivity, write_sensitivity

_SENSITIVITY_FILE = "sensitivity.json"


@dataclass(frozen=True)
class Int8Options:
    """How to quantize.

    Attributes:
        data: rows to calibrate with, see `read_requests`.
        form: see `trbert_deploy.export.quantize`.
        fp32_layers: so many layers, those that suffer most, stay in float32.
    """

    data: Path | None = None
    form: QuantizationForm = "cpu"
    fp32_layers: int = 0

    def check(self, task: TaskSpec, num_layers: int, has_tokenizer: bool) -> None:
        """Say what does not fit the model before it is traced.

        Raises:
            TRBertError: there is no data that fits, or no layer would be quantized.
        """
        if not 0 <= self.fp32_layers < num_layers:
            raise TRBertError(
                f"{self.fp32_layers} layers were to stay in float32, but the model has {num_layers}",
                f"--fp32-layers takes 0 to {num_layers - 1}; for float32 throughout leave --precision out",
            )
        require_rows(task, has_tokenizer, self.data)


def make_fp16(bundle: Bundle, progress: Callable[[str], None]) -> Bundle:
    """Convert every graph to float16."""
    outputs = [output.name for output in bundle.manifest.task.outputs]
    bundle = rewrite_graphs(bundle, lambda file, graph: to_half(graph, outputs))
    progress("fp16: weights and states in float16; selection and LayerNormalization in float32")
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"precision": "fp16"}))


def make_int8(bundle: Bundle, options: Int8Options, progress: Callable[[str], None]) -> Bundle:
    """Quantize every graph, and write which layers suffer from it.

    Args:
        bundle: float32.
        options: how.
        progress: is given a line for every step.

    Raises:
        InputError: the data cannot be used.
    """
    manifest = bundle.manifest
    name, requests = read_requests(bundle, options.data)
    rows = requests[:CALIBRATION_ROWS]
    stages = [graph.file for graph in manifest.stages]
    chains: list[tuple[list[str], ReductionSpec]] = [(stages, manifest.reduction)]
    if manifest.dense is not None:
        chains.append(([manifest.dense.file], manifest.reduction.dense))
    ranges: dict[str, TensorsData] = {}
    with tempfile.TemporaryDirectory() as folder:
        for files, reduction in chains:
            paths = [bundle.path(file) for file in files]
            found = calibrate(paths, reduction, rows, PRODUCTS, Path(folder))
            ranges |= dict(zip(files, found, strict=True))
    progress(f"int8: ranges of activations from {len(rows)} rows of {name}")
    others = requests[CALIBRATION_ROWS:] or requests[:SENSITIVITY_ROWS]
    layers = measure_sensitivity(
        [bundle.path(file) for file in stages],
        manifest.reduction,
        [ranges[file] for file in stages],
        others,
        options.form,
        lambda one: progress(f"int8: layer {one.layer} alone changes outputs by {one.mean_difference:.2g} on average"),
    )
    write_sensitivity(layers, name, len(others), bundle.path(_SENSITIVITY_FILE))
    fp32_layers = sorted(one.layer for one in layers[: options.fp32_layers])
    quantized = [one.layer for one in layers[options.fp32_layers :]]
    bundle = rewrite_graphs(bundle, lambda file, graph: to_int8(graph, ranges[file], options.form, quantized))
    progress(f"int8: {len(quantized)} of {manifest.model.num_layers} layers quantized")
    facts = QuantizationFacts(
        form=options.form,
        calibration=name,
        calibration_rows=len(rows),
        fp32_layers=fp32_layers,
        sensitivity=_SENSITIVITY_FILE,
    )
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"precision": "int8", "quantization": facts}))
