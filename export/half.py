"""fp16: weights and activations in float16, what decides and what sums up in float32.

The conversion is ONNX Runtime's own. It is told three things. The selector, its logits and the arithmetic that turns
them into kept sets stay in float32, as selection demands in every precision; so do the keys by which kept tokens are
gathered, which are integers beyond float16's exact ones where rows are long. LayerNormalization stays in float32: its
variance overflows float16 at a state of 256, and TensorRT's strongly typed networks compute it in the type they are
given. Constants end at 1e4: an additive mask of float32's lowest number becomes -1e4, which is still nothing after
softmax and, unlike float16's lowest, does not overflow when a score is added to it.

Softmax stays in float16: its largest term is 1, so nothing overflows, and runtimes add up in float32 inside it.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx
import onnx_ir as ir
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from trbert_deploy.export.graphs import from_message, to_message
from trbert_deploy.export.selection_nodes import selection_nodes

#: Beyond it nothing is meant literally: masks only. `trbert_deploy.core.specs.NO_LOGIT` is exactly this, and stays.
_LARGEST_CONSTANT = 1e4

_NORM = "LayerNormalization"


class Half(ir.passes.FunctionalPass):
    """A stage graph, or the dense graph, in float16.

    Needs: a float32 graph as it was traced.
    Ensures: strongly typed, float32 and float16 meet at Cast nodes only. States that are handed from stage to stage are
    float16.

    Args:
        outputs: names of the task's outputs, which stay float32.
    """

    def __init__(self, outputs: Collection[str]) -> None:
        self._outputs = list(outputs)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See `onnx_ir.passes.PassBase`."""
        message = to_message(model)
        blocked = selection_nodes(message) | {node.name for node in message.graph.node if node.op_type == _NORM}
        _own_constants(message.graph, blocked)
        half: onnx.ModelProto = convert_float_to_float16(
            message,
            max_finite_val=_LARGEST_CONSTANT,
            keep_io_types=self._outputs,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, _NORM],
            node_block_list=sorted(blocked),
        )
        _join(half.graph)
        _tidy(half.graph)
        return ir.passes.PassResult(from_message(half), modified=True)


def _own_constants(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Give these nodes constants of their own: one shared with a float16 node would be rounded for both."""
    constants = {constant.name: constant for constant in graph.initializer}
    for node in graph.node:
        if node.name not in names:
            continue
        for place, name in enumerate(node.input):
            if name in constants and constants[name].data_type == onnx.TensorProto.FLOAT:
                own = graph.initializer.add()
                own.CopyFrom(constants[name])
                own.name = node.input[place] = f"{name}/{node.name}"
    used = {name for node in graph.node for name in node.input}
    for constant in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(constant)


def _join(graph: onnx.GraphProto) -> None:
    """Let float32 nodes read each other directly: the converter rounds to float16 and back between any two of them."""
    rounded = {node.output[0]: node.input[0] for node in graph.node if _casts(node, onnx.TensorProto.FLOAT16)}
    widened = {
        node.output[0]: rounded[node.input[0]]
        for node in graph.node
        if _casts(node, onnx.TensorProto.FLOAT) and node.input[0] in rounded
    }
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = widened.get(name, name)
    for node in [node for node in graph.node if node.output[0] in widened]:
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in [node for node in graph.node if node.output[0] in rounded and node.output[0] not in used]:
        graph.node.remove(node)


def _casts(node: onnx.NodeProto, to: int) -> bool:
    """Whether the converter put this cast there."""
    return node.name.endswith(("_cast_to_fp16_node", "_cast_to_fp32_node")) and node.attribute[0].i == to


def _tidy(graph: onnx.GraphProto) -> None:
    """Put nodes behind those that they read from, each once.

    The converter appends its casts at the end, and the same one again for every node that reads it.
    """
    done = {value.name for value in (*graph.input, *graph.initializer)} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = [node for node in waiting if done.issuperset(node.input)]
        if not ready:
            raise ValueError(f"node {waiting[0].name} reads what no node makes")
        for node in ready:
            if not done.issuperset(node.output):
                ordered.append(node)
                done.update(node.output)
        waiting = [node for node in waiting if not done.issuperset(node.output)]
    del graph.node[:]
    graph.node.extend(ordered)
