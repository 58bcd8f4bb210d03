"""Which other files an ONNX file takes tensors from.

A runtime reads them without a word, so a bundle has to vouch for them as well. They are looked for wherever a tensor
can stand: in initializers, sparse ones too, in attributes, in the graphs of control flow, functions and training.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from trbert_deploy.bundle.protobuf import fields, varint
from trbert_deploy.core.errors import BundleError

#: By message, the fields that lead to a tensor, and what message each is; numbers as in onnx/onnx.proto.
_WAYS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_KEY, _VALUE = 1, 2
_EXTERNAL = 1
_MAX_DEPTH = 64  # messages inside one another; a graph inside a graph takes three


def external_files(path: Path) -> list[str]:
    """The files that hold tensors of an ONNX file, as it names them, relative to its folder; each once.

    Raises:
        BundleError: it cannot be read, is no ONNX file, or does not say where a tensor is.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return sorted(set(_locations(data, "model", 0, len(data), 0)))
    except (OSError, ValueError, IndexError) as error:
        raise BundleError(f"{path} is no ONNX graph that can be read: {error}", "export the bundle again") from error


def _locations(data: mmap.mmap, message: str, start: int, end: int, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError(f"graphs are nested too deeply at byte {start}")
    ways = _WAYS[message]
    for field, first, last in fields(data, start, end):
        inner = ways.get(field)
        if inner == "tensor":
            yield from _location(data, first, last)
        elif inner is not None:
            yield from _locations(data, inner, first, last, depth + 1)


def _location(data: mmap.mmap, start: int, end: int) -> Iterator[str]:
    """Where a tensor's data are, if they are in another file."""
    external, said = False, {}
    for field, first, last in fields(data, start, end):
        if field == _DATA_LOCATION:
            external = varint(data, first)[0] == _EXTERNAL
        elif field == _EXTERNAL_DATA:
            entry = {part: data[low:high].decode() for part, low, high in fields(data, first, last)}
            said[entry.get(_KEY, "")] = entry.get(_VALUE, "")
    if external or said:
        if "location" not in said:
            raise ValueError(f"the tensor at byte {start} is in another file, but not said in which")
        yield said["location"]
