"""Write a bundle's graphs and its manifest: what was checked, once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx
import onnx_ir as ir

from trbert_deploy.bundle import Bundle, GraphFile
from trbert_deploy.bundle.manifest import MANIFEST_FILE, SCHEMA_FILE, FileFacts, schema
from trbert_deploy.bundle.reader import sha256_of
from trbert_deploy.core.errors import CheckFailedError, TRBertError
from trbert_deploy.core.specs import TensorSpec
from trbert_deploy.export.graphs import Graphs, to_message

#: protobuf's limit on one message.
_MAX_GRAPH_BYTES = 2**31 - 1


def write_graphs(graphs: Graphs, folder: Path) -> tuple[dict[str, GraphFile], dict[str, FileFacts]]:
    """Write every graph, one after the other: no more than one is in memory twice.

    Needs: graphs in their final precision.
    Ensures: every file is a valid ONNX graph of standard operators; its bytes were made once, and are what was checked
    and what was hashed.

    Returns:
        By file name what the manifest says of the graph, and of the file.

    Raises:
        CheckFailedError: a graph is not valid, or holds operators outside ai.onnx.
        TRBertError: one is too large for one file.
    """
    described, files = {}, {}
    for file, graph in graphs.named():
        _check_standard(file, graph)
        described[file] = GraphFile(
            file=file,
            inputs=[_tensor(value) for value in graph.graph.inputs],
            outputs=[_tensor(value) for value in graph.graph.outputs],
        )
        content = _valid_content(file, graph)
        (folder / file).write_bytes(content)
        files[file] = FileFacts(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    return described, files


def _check_standard(file: str, graph: ir.Model) -> None:
    domains = {node.domain for node in graph.graph} - {"", "ai.onnx"}
    if domains or graph.functions:
        raise CheckFailedError(f"{file} holds operators outside ai.onnx: {', '.join(sorted(domains))}")


def _valid_content(file: str, graph: ir.Model) -> bytes:
    """The bytes of a graph's file."""
    message = to_message(graph)
    size = message.ByteSize()
    if size > _MAX_GRAPH_BYTES:
        raise TRBertError(f"{file} would take {size / 2**30:.1f} GiB, an ONNX file holds 2 GiB")
    content: bytes = message.SerializeToString()
    del message  # before the checker reads the bytes to one of its own
    try:
        onnx.checker.check_model(content, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CheckFailedError(f"{file} is not a valid ONNX graph: {error}") from error
    return content


def _tensor(value: ir.Value) -> TensorSpec:
    """What the manifest says of an input or output: its type and axes as the graph has them."""
    assert value.name is not None
    assert value.shape is not None
    assert value.dtype is not None
    axes = [axis if isinstance(axis, int) else str(axis.value) for axis in value.shape]
    return TensorSpec(value.name, tuple(axes), str(value.dtype.numpy()))


def write_manifest(bundle: Bundle) -> None:
    """Write the manifest, the last of all files: it lists every other one with its hash.

    Args:
        bundle: the facts of graphs are in its manifest already; the other files are read for theirs.
    """
    folder, manifest = bundle.folder, bundle.manifest
    (folder / SCHEMA_FILE).write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = {name: manifest.files.get(name) or _facts(folder / name) for name in names}
    complete = manifest.model_copy(update={"files": files})
    (folder / MANIFEST_FILE).write_text(complete.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _facts(path: Path) -> FileFacts:
    return FileFacts(sha256=sha256_of(path), bytes=path.stat().st_size)
