"""The outline of an ONNX file: its operators and the types of its weights, without the weights.

A deployed engine has no `onnx` package, and a graph of BERT-base takes a while to read whole. This reads the few fields
that say what a graph computes in, and jumps over the rest. Field numbers: onnx/onnx.proto.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from trbert_deploy.bundle.protobuf import fields, varint
from trbert_deploy.core.errors import BundleError

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE, _NODE_DOMAIN = 1, 2, 4, 7
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME = 1, 2, 8


@dataclass(frozen=True)
class Node:
    """An operator.

    Attributes:
        operator: its type, e.g. ``"Gemm"``; with its domain in front where that is not ai.onnx.
        inputs: names of tensors; empty where an optional one is left out.
        outputs: names of tensors.
    """

    operator: str
    inputs: list[str]
    outputs: list[str]


@dataclass(frozen=True)
class Weight:
    """A constant.

    Attributes:
        type: `onnx.TensorProto.DataType`.
        shape: its sizes.
    """

    type: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Outline:
    """Operators in order, and constants by name."""

    nodes: list[Node]
    weights: dict[str, Weight]


def read_outline(path: Path) -> Outline:
    """Read the outline of an ONNX file.

    Raises:
        BundleError: it cannot be read, or is no ONNX file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _outline(data)
    except (OSError, ValueError, IndexError) as error:
        raise BundleError(f"{path} is no ONNX graph that can be read: {error}", "export the bundle again") from error


def _outline(data: mmap.mmap) -> Outline:
    nodes, weights = [], {}
    for field, start, end in fields(data, 0, len(data)):
        if field != _MODEL_GRAPH:
            continue
        for part, first, last in fields(data, start, end):
            if part == _GRAPH_NODE:
                nodes.append(_node(data, first, last))
            elif part == _GRAPH_INITIALIZER:
                name, weight = _weight(data, first, last)
                weights[name] = weight
    if not nodes:
        raise ValueError("it holds no operators")
    return Outline(nodes, weights)


def _node(data: mmap.mmap, start: int, end: int) -> Node:
    inputs, outputs = [], []
    operator = domain = ""
    for field, first, last in fields(data, start, end):
        if field == _NODE_INPUT:
            inputs.append(data[first:last].decode())
        elif field == _NODE_OUTPUT:
            outputs.append(data[first:last].decode())
        elif field == _NODE_OP_TYPE:
            operator = data[first:last].decode()
        elif field == _NODE_DOMAIN:
            domain = data[first:last].decode()
    return Node(operator if domain in ("", "ai.onnx") else f"{domain}.{operator}", inputs, outputs)


def _weight(data: mmap.mmap, start: int, end: int) -> tuple[str, Weight]:
    name, kind = "", 0
    shape: list[int] = []
    for field, first, last in fields(data, start, end):
        if field == _TENSOR_NAME:
            name = data[first:last].decode()
        elif field == _TENSOR_TYPE:
            kind = varint(data, first)[0]
        elif field == _TENSOR_DIMS:  # packed or one by one, as the writer liked
            while first < last:
                size, first = varint(data, first)
                shape.append(size)
    return name, Weight(kind, tuple(shape))
