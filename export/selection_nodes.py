"""Which nodes of a stage graph decide on tokens: they stay in float32 in every precision."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from trbert_deploy.bundle.manifest import NEXT


def selection_nodes(graph: onnx.ModelProto) -> set[str]:
    """Names of the nodes from states to the kept set, and of those that order kept tokens for gathering.

    1. What leads to the keep mask and not to states handed on, in floats: the score and what compares it.
    2. What leads to a TopK: the keys of kept tokens, and what compares those keys further on.
    """
    nodes = graph.graph.node
    outputs = {value.name: value.type.tensor_type.elem_type for value in graph.graph.output}
    names: set[str] = set()
    if f"{NEXT}keep_mask" in outputs:
        states = [name for name, kind in outputs.items() if kind == onnx.TensorProto.FLOAT]
        names |= _leading_to(nodes, [f"{NEXT}keep_mask"]) - _leading_to(nodes, states)
    keys = [name for node in nodes if node.op_type == "TopK" for name in node.input[:1]]
    names |= _leading_to(nodes, keys)
    for node in nodes:  # in topological order
        if keys and set(keys) & set(node.input):
            names.add(node.name)
            keys += node.output if node.op_type == "GatherElements" else ()
    return names


def _leading_to(nodes: Iterable[onnx.NodeProto], tensors: Iterable[str]) -> set[str]:
    wanted, names = set(tensors), set()
    for node in reversed(list(nodes)):
        if wanted.intersection(node.output):
            names.add(node.name)
            wanted.update(node.input)
    return names
