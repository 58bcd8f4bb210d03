"""What is timed: batches of real rows, or of random tokens of one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trbert_deploy.bundle import Bundle
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.samples import random_batch

IntArray = npt.NDArray[np.int64]

_OVER_TOKENS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Dataset:
    """Rows as token ids.

    Attributes:
        name: for the report.
        inputs: int64 arrays as `Engine.run` takes them, all rows together, padded to the longest.
        labels: index of the right class of each row; None where the row has none.
    """

    name: str
    inputs: dict[str, IntArray]
    labels: list[int | None] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.inputs["input_ids"])

    @property
    def lengths(self) -> IntArray:
        """Real tokens of each row (in multiple choice: of its longest option)."""
        lengths: IntArray = self.inputs["attention_mask"].sum(-1)
        return lengths.max(-1) if lengths.ndim == 2 else lengths

    @property
    def sequences(self) -> int:
        """Sequences that a row stands for: options in multiple choice, else 1."""
        ids = self.inputs["input_ids"]
        return ids.shape[1] if ids.ndim == 3 else 1

    @property
    def items(self) -> int:
        """Sentences or candidates of a row that the head scores, padding included; 0 for other tasks."""
        scored = self.inputs.get("sentence_spans", self.inputs.get("candidate_positions"))
        return 0 if scored is None else scored.shape[1]

    def batch(self, rows: IntArray) -> dict[str, IntArray]:
        """Inputs of some rows, cut to the longest of them."""
        width = int(self.lengths[rows].max())
        return {
            name: np.ascontiguousarray(array[rows][..., :width]) if name in _OVER_TOKENS else array[rows]
            for name, array in self.inputs.items()
        }


@dataclass(frozen=True)
class Workload:
    """Batches to time.

    Attributes:
        name: for the report, e.g. ``"batch 32"``.
        dataset: where its rows come from.
        batches: row numbers of each batch; the rounds go through them again and again.
    """

    name: str
    dataset: Dataset
    batches: list[IntArray]

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""
        return len(self.batches[0])

    def rows_of_round(self, number: int) -> IntArray:
        """The batch of a round."""
        return self.batches[number % len(self.batches)]


def read_dataset(bundle: Bundle, path: Path, limit: int | None = None) -> Dataset:
    """Tokenize a JSON-lines file.

    Args:
        bundle: its tokenizer, task and label names are used.
        path: lines as `trbert_deploy.text.tokenization` takes them, with an optional ``label``.
        limit: so many lines at most.

    Raises:
        InputError: a line cannot be used, or there is none.
    """
    from itertools import islice

    from trbert_deploy.text.json_lines import read_json_lines
    from trbert_deploy.text.tokenization import BundleTokenizer, collate

    lines = list(islice(read_json_lines(path), limit))
    if not lines:
        raise InputError(f"{path} has no lines", 'write one JSON object a line, e.g. {"text": "...", "label": 1}')
    rows = BundleTokenizer(bundle).encode(lines)
    task, names = bundle.manifest.task, bundle.manifest.model.labels
    labels = [_label(line.get("label"), names, line.source) for line in lines] if names else []
    return Dataset(path.name, collate(rows, task), labels)


def _label(label: object, names: Sequence[str], where: str) -> int | None:
    if label is None:
        return None
    if isinstance(label, str) and label in names:
        return names.index(label)
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(names):
        return label
    raise InputError(
        f"{where}: label {label!r} is none of the model's", f"one of {', '.join(names)}, or its index from 0"
    )


def random_dataset(bundle: Bundle, lengths: Sequence[int], seed: int) -> Dataset:
    """Rows of exactly these lengths: random tokens, between [CLS] and [SEP] where the bundle has a tokenizer.

    Raises:
        InputError: the model does not take rows that long.
    """
    manifest = bundle.manifest
    if max(lengths) > manifest.task.max_length:
        raise InputError(
            f"rows of {max(lengths)} tokens were asked for, the model takes {manifest.task.max_length}",
            f"--length {manifest.task.max_length}",
        )
    inputs = random_batch(manifest.task, manifest.limit_facts, lengths, np.random.default_rng(seed))
    ends = inputs["attention_mask"].sum(-1) - 1
    for position, token in ((ends, "[SEP]"), (np.zeros_like(ends), "[CLS]")):
        if (token_id := _token_id(bundle, token)) is not None:
            np.put_along_axis(inputs["input_ids"], position[..., None], token_id, -1)
    return Dataset("random tokens", inputs)


def _token_id(bundle: Bundle, token: str) -> int | None:
    from tokenizers import Tokenizer

    facts = bundle.manifest.tokenizer
    file = bundle.path(facts.folder) / "tokenizer.json" if facts else None
    if file is None or not file.is_file():
        return None
    token_id: int | None = Tokenizer.from_file(str(file)).token_to_id(token)
    return token_id


def data_workload(dataset: Dataset, batch_size: int, rounds: int, seed: int) -> Workload:
    """Real rows: single ones drawn at random, or batches of rows as they come.

    Where the data has fewer rows than a batch, rows are taken again.
    """
    size = len(dataset)
    if batch_size == 1:
        drawn = np.random.default_rng(seed).permutation(size)[:rounds]
        batches = [np.array([row], dtype=np.int64) for row in drawn]
    elif size < batch_size:
        batches = [np.resize(np.arange(size, dtype=np.int64), batch_size)]
    else:
        starts = range(0, size - batch_size + 1, batch_size)
        batches = [np.arange(start, start + batch_size, dtype=np.int64) for start in starts][:rounds]
    return Workload(f"batch {batch_size}", dataset, batches)


def random_workload(bundle: Bundle, batch_size: int, length: int, seed: int) -> Workload:
    """One batch of random rows of exactly `length` tokens."""
    dataset = random_dataset(bundle, [length] * batch_size, seed)
    return Workload(f"batch {batch_size}, length {length}", dataset, [np.arange(batch_size, dtype=np.int64)])
