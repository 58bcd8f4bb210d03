"""Graphs as files of a bundle, with what a manifest says of them."""

from __future__ import annotations

from pathlib import Path

import onnx

from trbert_deploy.bundle import GraphFile
from trbert_deploy.core.specs import TensorSpec


def save_graph(graph: onnx.ModelProto, folder: Path, file: str = "graph.onnx") -> GraphFile:
    """Write a graph, and describe it."""
    onnx.save(graph, folder / file)
    return GraphFile(
        file=file,
        inputs=[_tensor(value) for value in graph.graph.input],
        outputs=[_tensor(value) for value in graph.graph.output],
    )


def _tensor(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return TensorSpec(value.name, tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim), str(dtype))
