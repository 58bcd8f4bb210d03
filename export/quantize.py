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
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.quant_utils import add_infer_metadata

from trbert_deploy.core.precision import QuantizationForm
from trbert_deploy.export.graphs import from_message, to_message

#: The products of the layers' linear maps: see `trbert_deploy.backbones.Backbone.layer`.
PRODUCT = "Gemm"

#: The lower and upper end of what a tensor holds, by the tensor's name.
Ranges = Mapping[str, tuple[np.float32, np.float32]]


def products(graph: ir.Graph) -> list[ir.Node]:
    """The matrix products with a weight."""
    return [node for node in graph if node.op_type == PRODUCT and _weight(node) is not None]


def layer_products(graph: ir.Graph, layers: Sequence[str]) -> dict[int, list[str]]:
    """Names of the matrix products with the weights of each encoder layer in a graph, by the layer's number.

    Args:
        graph: as it was traced.
        layers: see `trbert_deploy.export.graphs.Graphs`.
    """
    found: dict[int, list[str]] = {}
    for node in products(graph):
        for number, start in enumerate(layers):
            if str(_weight(node)).startswith(start):
                found.setdefault(number, []).append(str(node.name))
    return found


def _weight(product: ir.Node) -> str | None:
    """The name of what a product multiplies with, where that is a weight."""
    value = product.inputs[1]
    return value.name if value is not None and value.is_initializer() else None


class Quantize(ir.passes.FunctionalPass):
    """A stage graph, or the dense graph, with Q/DQ nodes around some products.

    Needs: a float32 graph as it was traced, and ranges of what its products read.
    Ensures: only these products read dequantized integers; everything else is as it was.

    Args:
        ranges: from `trbert_deploy.export.calibration.calibrate`.
        form: see the top of this module.
        names: of the products; those of other graphs do no harm.
    """

    def __init__(self, ranges: Ranges, form: QuantizationForm, names: Collection[str]) -> None:
        self._ranges = ranges
        self._form = form
        self._names = frozenset(names)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See `onnx_ir.passes.PassBase`."""
        chosen = [node for node in products(model.graph) if node.name in self._names]
        if not chosen:
            return ir.passes.PassResult(model.clone(), modified=False)
        message = to_message(model)
        # Only these types are asked for. Without the mark the quantizer would infer all, through a file.
        read = {str(node.inputs[0].name) for node in chosen if node.inputs[0] is not None}
        for name in sorted(read):
            message.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        add_infer_metadata(message)
        with _quiet():
            quantizer = self._quantizer(message, [str(node.name) for node in chosen])
            quantized: onnx.ModelProto = quantizer.quantize_model()
            quantizer.model.topological_sort()  # new nodes come last
        del quantized.graph.value_info[:]
        del quantized.metadata_props[:]
        return ir.passes.PassResult(from_message(quantized), modified=True)

    def _quantizer(self, message: onnx.ModelProto, names: list[str]) -> QDQQuantizer:
        return QDQQuantizer(
            message,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8 if self._form == "cpu" else QuantType.QInt8,
            # The method's name stands for plain ends: `calibrate` has cut them already.
            tensors_range=TensorsData(CalibrationMethod.MinMax, dict(self._ranges)),
            nodes_to_quantize=names,
            nodes_to_exclude=[],
            op_types_to_quantize=[PRODUCT],
            extra_options={
                "ActivationSymmetric": self._form == "tensorrt",
                "WeightSymmetric": True,
                "QuantizeBias": self._form == "cpu",
                # A product's result goes on in float32: what reads it is elementwise.
                "OpTypesToExcludeOutputQuantization": [PRODUCT],
            },
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's advice, which it gives through the root logger, off the user's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
