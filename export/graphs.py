"""Graphs into a bundle's folder: checked, standard, of a size that a file can hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import ModelProto

from trbert_deploy.bundle import Bundle, GraphFile
from trbert_deploy.core.errors import CheckFailedError, TRBertError
from trbert_deploy.core.specs import TensorSpec
from trbert_deploy.export.fuse import fuse

#: protobuf's limit on one message.
_MAX_GRAPH_BYTES = 2**31 - 1


def save_graph(graph: ModelProto, folder: Path, name: str) -> GraphFile:
    """Write a graph.

    Returns:
        What the manifest says of it.

    Raises:
        CheckFailedError: it is not valid, or holds operators outside ai.onnx.
        TRBertError: it is too large for one file.
    """
    size = graph.ByteSize()
    if size > _MAX_GRAPH_BYTES:
        raise TRBertError(f"{name} would take {size / 2**30:.1f} GiB, an ONNX file holds 2 GiB")
    path = folder / name
    onnx.save(graph, path)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CheckFailedError(f"{name} is not a valid ONNX graph: {error}") from error
    domains = {node.domain for node in graph.graph.node} - {"", "ai.onnx"}
    if domains or graph.functions:
        raise CheckFailedError(f"{name} holds operators outside ai.onnx: {', '.join(sorted(domains))}")
    return GraphFile(
        file=name,
        inputs=[_tensor(value) for value in graph.graph.input],
        outputs=[_tensor(value) for value in graph.graph.output],
    )


def _tensor(value: onnx.ValueInfoProto) -> TensorSpec:
    """What the manifest says of an input or output: its type and axes as the graph has them."""
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return TensorSpec(value.name, tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim), str(dtype))


def rewrite_graphs(bundle: Bundle, convert: Callable[[str, ModelProto], ModelProto]) -> Bundle:
    """Replace every graph of a bundle that is being written; the fused one is made of the new stages.

    Args:
        bundle: names and order of inputs and outputs stay as its manifest says.
        convert: is given a graph's file name and the graph.

    Returns:
        The bundle with what its manifest says of the new graphs.
    """
    manifest = bundle.manifest
    stages, described = [], []
    for graph in manifest.stages:
        stages.append(convert(graph.file, onnx.load(bundle.path(graph.file))))
        described.append(save_graph(stages[-1], bundle.folder, graph.file))
    fused = fuse(stages, manifest.reduction.fractions, manifest.task)
    facts: dict[str, object] = {"stages": described, "fused": save_graph(fused, bundle.folder, manifest.fused.file)}
    if manifest.dense is not None:
        dense = convert(manifest.dense.file, onnx.load(bundle.path(manifest.dense.file)))
        facts["dense"] = save_graph(dense, bundle.folder, manifest.dense.file)
    return Bundle(bundle.folder, manifest.model_copy(update=facts))
