"""int8: Q/DQ around the matrix products of the encoder layers, by ONNX Runtime's quantizer.

Weights are int8, symmetric, with one scale a channel; activations have one scale a tensor. Selectors, heads,
embeddings, attention scores and what is elementwise stay in float32: together a few percent of the operations.

There are two forms, because no runtime here takes the other's:

1. ``cpu``: uint8 activations with a zero point, and int32 biases. On a CPU with VNNI, ONNX Runtime 1.31 runs a graph
   of this form 2.2 to 2.4 times faster than float32's. With int8 activations, of which it turns only some into uint8 by
   itself, the same graph takes 2.6 to 4 times as long as float32's, and with float32 biases its products are multiplied
   as floats. x86 CPUs without VNNI add up products of 8 bits in 16, which may overflow: run `verify` and `bench` there.
2. ``tensorrt``: int8 activations around 0 and float32 biases. TensorRT refuses other zero points and int32 biases.

Dynamic quantization is as fast as the first, but takes its ranges from the whole batch: a row's answer would depend on
the rows beside it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data

from trbert_deploy.bundle.manifest import QuantizationForm

#: The products of the layers' linear maps: see `trbert_deploy.model.layers`.
PRODUCTS = ("Gemm",)

_LAYER = re.compile(r"\.layer\.(\d+)\.")  # model.backbone.encoder.layer.3..., DistilBERT: ...transformer.layer.3...


def layer_products(graph: onnx.ModelProto) -> dict[int, list[str]]:
    """Names of the matrix products with the weights of each encoder layer in a graph, by the layer's number."""
    weights = {weight.name for weight in graph.graph.initializer}
    products: dict[int, list[str]] = {}
    for node in graph.graph.node:
        if node.op_type in PRODUCTS and node.input[1] in weights and (found := _LAYER.search(node.input[1])):
            products.setdefault(int(found[1]), []).append(node.name)
    return products


def to_int8(
    graph: onnx.ModelProto, ranges: TensorsData, form: QuantizationForm, layers: Collection[int]
) -> onnx.ModelProto:
    """Quantize a stage graph, or the dense graph.

    Args:
        graph: float32; it is not changed.
        ranges: of this graph's activations, from `calibrate`.
        form: see the top of this module.
        layers: which encoder layers.

    Returns:
        The graph with Q/DQ nodes; as it was where it has none of the layers.
    """
    names = [name for layer, own in layer_products(graph).items() if layer in layers for name in own]
    quantized = onnx.ModelProto()
    quantized.CopyFrom(graph)
    if not names:
        return quantized
    with tempfile.TemporaryDirectory() as folder, _quiet():
        cache, out = Path(folder) / "ranges.json", Path(folder) / "quantized.onnx"
        save_tensors_data(ranges, cache)
        quantize_static(
            quantized,
            out,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(PRODUCTS),
            nodes_to_quantize=names,
            per_channel=True,
            activation_type=QuantType.QUInt8 if form == "cpu" else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,  # the cache's: `calibrate` has cut the ranges already
            calibration_cache_path=cache,
            extra_options={
                "ActivationSymmetric": form == "tensorrt",
                "WeightSymmetric": True,
                "QuantizeBias": form == "cpu",
                # A product's result goes on in float32: what reads it is elementwise.
                "OpTypesToExcludeOutputQuantization": list(PRODUCTS),
            },
        )
        quantized = onnx.load(out)
    del quantized.graph.value_info[:]
    return quantized


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's advice, which it gives through the root logger, off the user's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
