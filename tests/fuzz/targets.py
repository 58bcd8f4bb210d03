"""What a stranger can send or change, each as a function of bytes that may raise nothing but errors of ours.

What is let through has to be of use: the model's answers, which are zeros here, come out as JSON.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from manifests import schema_1, schema_2, write
from tokenizers import BertWordPieceTokenizer

from trbert_deploy.api import Engine
from trbert_deploy.bundle import open_bundle
from trbert_deploy.core import strict_json
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.request import Request
from trbert_deploy.core.selection import Kept
from trbert_deploy.runtimes.base import Result
from trbert_deploy.tasks import TASKS
from trbert_deploy.text.json_lines import read_json_lines
from trbert_deploy.text.prediction import predict
from trbert_deploy.verification import verify_engine

#: Says how many items were answered, or rows replayed.
Target = Callable[[bytes], int]

TASK_NAMES = ("sequence-classification", "multiple-choice", "question-answering", "hotpot", "wikihop",
              "token-classification")  # fmt: skip
ITEMS: tuple[Any, ...] = (
    {"text": "a film", "text_pair": "é"},
    {"id": {"deep": [1]}, "input_ids": [5, 9, 7], "attention_mask": [1, 1, 0], "token_type_ids": [0, 1, 0]},
    {"context": "a b", "question": "who?", "choices": ["x", "y z"]},
    {"question": "who?", "context": "a film by 日本"},
    {"input_ids": [[5, 6, 7], [5, 8, 9]], "question_end": 2},
    {"input_ids": [5, 6, 7], "context": "añb", "offsets": [None, [0, 1], [1, 3]]},
    {"input_ids": [5, 6, 7], "sentence_spans": [[0, 1], [-1, -1]]},
    {"input_ids": [5, 6, 7], "candidate_positions": [0, -1, 2]},
    "a text by itself",
    ["a text", "and its pair"],
)


class Zeros:
    """A runtime that computes nothing: every token is kept, every output is 0."""

    name, device = "zeros", "cpu"

    def __init__(self, reductions: int) -> None:
        self._reductions = reductions

    def run(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Result:
        """See `Runtime.run`."""
        task = request.task
        sizes = {"length": request.width}
        for spec in task.inputs:
            for axis, size in zip(spec.axes, request.arrays[spec.name].shape, strict=True):
                sizes.setdefault(str(axis), size)
        outputs = {}
        for output in task.outputs:
            shape = [axis if isinstance(axis, int) else sizes.get(axis, 3) for axis in output.axes]
            outputs[output.name] = np.zeros([min(size, 1000) for size in shape], dtype=np.float32)
        rows = [np.arange(length, dtype=np.int64) for length in request.lengths]
        return Result(outputs, [rows] * self._reductions if want_kept else None)

    def close(self) -> None:
        """See `Runtime.close`."""


def engine_of(folder: Path) -> Engine:
    """An engine of zeros on a bundle."""
    bundle = open_bundle(folder)
    return Engine(bundle, Zeros(len(bundle.manifest.reduction.layers)))


def make_bundle(folder: Path, manifest: dict[str, Any]) -> Path:
    """A bundle whose graphs are none, with a tokenizer of a few words."""
    (folder / "tokenizer").mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "film", "text", "who", "?", "##s"]
    file = folder / "tokenizer" / "tokenizer.json"
    BertWordPieceTokenizer({word: number for number, word in enumerate(words)}).save(str(file))
    manifest["tokenizer"] = {"folder": "tokenizer", "onnx": None, "max_length": 32}
    manifest["files"]["tokenizer/tokenizer.json"] = {"sha256": "0" * 64, "bytes": file.stat().st_size}
    return write(folder, manifest)


def _answer(engine: Engine, items: Iterable[object]) -> int:
    """How many items were answered before the first that could not be."""
    answers = 0
    with contextlib.suppress(TRBertError):
        for answer in predict(engine, items, batch_size=2):
            strict_json.dumps(answer)
            answers += 1
    return answers


def manifest_target(folder: Path, manifest: dict[str, Any]) -> Target:
    """The data as a bundle's manifest; where it opens, the bundle is used."""
    bundle = make_bundle(folder, manifest)

    def run(data: bytes) -> int:
        (bundle / "manifest.json").write_bytes(data)
        try:
            engine = engine_of(bundle)
        except TRBertError:
            return 0
        return sum(_answer(engine, [item]) for item in ITEMS)

    return run


def golden_target(folder: Path) -> Target:
    """The data as a bundle's golden vectors, replayed."""
    engine = engine_of(make_bundle(folder, schema_2("question-answering")))

    def run(data: bytes) -> int:
        (folder / "golden.json").write_bytes(data)
        try:
            return verify_engine(engine).rows
        except TRBertError:
            return 0

    return run


def item_target(folder: Path) -> Target:
    """The first byte is the task, the others a JSON value, which is taken for an item."""
    engines = [engine_of(make_bundle(folder / task, schema_2(task))) for task in TASK_NAMES]

    def run(data: bytes) -> int:
        try:
            item = json.loads(data[1:])  # not strictly: Python's callers may give what JSON does not have
        except (ValueError, RecursionError):
            return 0
        return _answer(engines[data[0] % len(engines)], [item])

    return run


def json_lines_target(folder: Path) -> Target:
    """The data as a file of items."""
    engine = engine_of(make_bundle(folder, schema_2()))
    file = folder / "items.jsonl"

    def run(data: bytes) -> int:
        file.write_bytes(data)
        return _answer(engine, read_json_lines(file))

    return run


def golden_seed() -> dict[str, Any]:
    """Golden vectors that the engine of zeros passes."""
    rows = {"input_ids": [[2, 5, 6, 3], [2, 5, 3, 0]], "attention_mask": [[1, 1, 1, 1], [1, 1, 1, 0]]}
    outputs = {output.name: np.zeros((2, 4)).tolist() for output in TASKS.get("question-answering").outputs}
    batch = {"inputs": rows, "kept": [[[0, 1, 2, 3], [0, 1, 2]]], "outputs": outputs}
    return {"schema_version": "1.1", "tolerance": 1e-4, "max_flips": 0.0, "batches": [batch]}


def seeds(name: str, folder: Path) -> list[bytes]:
    """Valid inputs to start from; `folder` is where a bundle may be made."""
    if name == "golden":
        return [json.dumps(golden_seed()).encode()]
    if name == "item":
        return [bytes([task]) + json.dumps(item).encode() for task in range(len(TASK_NAMES)) for item in ITEMS]
    if name == "json_lines":
        lines = [json.dumps(item, ensure_ascii=False).encode() for item in ITEMS[:2] * 2]
        return [b"\n".join(lines), b"\xef\xbb\xbf" + lines[0] + b"\r\n\n", *lines]
    made = schema_1 if name == "manifest_1" else schema_2
    bundles = [make_bundle(folder / task, made(task)) for task in TASK_NAMES]
    return [(bundle / "manifest.json").read_bytes() for bundle in bundles]


#: By name, made in a folder.
TARGETS: dict[str, Callable[[Path], Target]] = {
    "manifest_2": lambda folder: manifest_target(folder, schema_2()),
    "manifest_1": lambda folder: manifest_target(folder, schema_1()),
    "golden": golden_target,
    "item": item_target,
    "json_lines": json_lines_target,
}
