"""Precision: read off the graphs, never believed from a label; and how far each may stray from the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trbert_deploy.bundle.onnx_summary import Node, Outline, read_outline
from trbert_deploy.bundle.reader import Bundle
from trbert_deploy.core import strict_json
from trbert_deploy.core.errors import BundleError
from trbert_deploy.core.precision import PRECISIONS, Precision

_PRODUCTS = ("Gemm", "MatMul")
_INTEGER_PRODUCTS = ("MatMulInteger", "QLinearMatMul")
_PASSING = ("Cast", "Identity", "Reshape", "Transpose")  # hand a weight on as it is

_MOST_REPORT_BYTES = 16 * 2**20

# onnx.TensorProto.DataType
_FLOAT, _UINT8, _INT8, _FLOAT16 = 1, 2, 3, 10


@dataclass(frozen=True)
class Tolerance:
    """How far graphs of a precision may stray from the float32 reference.

    Attributes:
        outputs: largest difference of an output or a state: absolute up to 1, relative beyond.
        near_tie: where a selector's logits lie closer than this, another kept set is no error of the graphs.
        flips: largest share of the tokens that reach a reduction which one keeps and the other drops. 0: kept sets are
            the reference's, but for near ties.
    """

    outputs: float
    near_tie: float
    flips: float


#: fp32: two runtimes round a logit differently by about 1e-6.
#: fp16: has 11 bits, so one rounding is 5e-4 of a state. Differences up to 0.004 and no flips were seen on models of 4
#: and 6 layers; the rest is room for more layers, and for runtimes that round after every operator.
#: int8: what lies beyond a tensor's range is cut, so nothing bounds a single value. Differences up to 0.6 of a state
#: and 0.4 of an output, and 5 % of flips, were seen on the same models. A wrong scale or axis changes states by several
#: times their own spread, which is about 1 behind a LayerNormalization.
TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(outputs=1e-4, near_tie=2e-5, flips=0.0),
    "fp16": Tolerance(outputs=0.02, near_tie=0.02, flips=0.02),
    "int8": Tolerance(outputs=1.0, near_tie=1.0, flips=0.15),
}


@dataclass(frozen=True)
class GraphPrecision:
    """What a graph computes in.

    Attributes:
        name: its lowest precision.
        weights: for each precision how many weights matrix products and look-ups read in it. The products of an int8
            graph multiply integers; weights that are stored as integers and multiplied as floats do not count as int8.
    """

    name: Precision
    weights: dict[Precision, int]


def graph_precision(path: Path) -> GraphPrecision:
    """Read what an ONNX file computes in.

    Raises:
        BundleError: it is no ONNX file.
    """
    outline = read_outline(path)
    maker = {name: node for node in outline.nodes for name in node.outputs}
    weights: dict[Precision, int] = dict.fromkeys(PRECISIONS, 0)
    for node in outline.nodes:
        if node.operator in _PRODUCTS or node.operator in _INTEGER_PRODUCTS:
            operand = node.inputs[3 if node.operator == "QLinearMatMul" else 1]
        elif node.operator == "Gather":
            operand = node.inputs[0]
        else:
            continue
        found = _weight(operand, outline, maker)
        if found is not None:
            kind, size = found
            if kind == "int8" and not _multiplies_integers(node, maker):
                kind = "fp32"
            weights[kind] += size
    name = [precision for precision in PRECISIONS if weights[precision]] or ["fp32"]
    return GraphPrecision(name[-1], {precision: size for precision, size in weights.items() if size})


def require_precision(bundle: Bundle, files: Sequence[str]) -> None:
    """Complain where the manifest's label is not what these graphs together compute in.

    Raises:
        BundleError: it is not.
    """
    found = [graph_precision(bundle.path(file)).name for file in files]
    lowest = max(found, key=PRECISIONS.index)
    label = bundle.manifest.precision
    if lowest != label:
        raise BundleError(
            f"the manifest of {bundle.folder} says {label}, but {', '.join(files)} computes in {lowest}",
            "export the bundle again: trbert-deploy export MODEL --out DIR --precision " + label,
        )


def require_precisions(bundle: Bundle) -> None:
    """Complain where the manifest's label is not what the stages together, the fused or the dense graph compute in.

    Raises:
        BundleError: it is not.
    """
    manifest = bundle.manifest
    alone = [manifest.fused, *([manifest.dense] if manifest.dense else [])]
    for graphs in (manifest.stages, *([graph] for graph in alone)):
        require_precision(bundle, [graph.file for graph in graphs])


def read_sensitivity(bundle: Bundle) -> dict[str, Any] | None:
    """What quantizing each layer alone does, as `trbert_deploy.export.sensitivity` wrote it; None unless int8.

    Raises:
        BundleError: the report cannot be read.
    """
    facts = bundle.manifest.quantization
    if facts is None:
        return None
    path = bundle.path(facts.sensitivity)
    try:
        report = strict_json.read(path, most_bytes=_MOST_REPORT_BYTES)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}", "export the bundle again") from error
    layers = report.get("layers") if isinstance(report, dict) else None
    if not isinstance(layers, list) or not all(_is_layer(one) for one in layers):
        raise BundleError(f"{path} lists no layers, each with its mean_difference", "export the bundle again")
    found: dict[str, Any] = report
    return found


def _is_layer(one: object) -> bool:
    return isinstance(one, dict) and type(one.get("layer")) is int and type(one.get("mean_difference")) is float


def _weight(name: str, outline: Outline, maker: dict[str, Node]) -> tuple[Precision, int] | None:
    """Precision and size of the matrix that a tensor hands on; None where it is no weight."""
    while name in maker:
        node = maker[name]
        if node.operator not in (*_PASSING, "DequantizeLinear"):
            return None
        name = node.inputs[0]
    weight = outline.weights.get(name)
    if weight is None or len(weight.shape) < 2:
        return None
    size = 1
    for axis in weight.shape:
        size *= axis
    kinds: dict[int, Precision] = {_FLOAT: "fp32", _FLOAT16: "fp16", _INT8: "int8", _UINT8: "int8"}
    return (kinds[weight.type], size) if weight.type in kinds else None


def _multiplies_integers(node: Node, maker: dict[str, Node]) -> bool:
    if node.operator in _INTEGER_PRODUCTS:
        return True
    states = maker.get(node.inputs[0])
    return states is not None and states.operator == "DequantizeLinear"
