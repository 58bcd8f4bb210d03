"""What is timed: batches of real rows, or of random tokens of one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trbert_deploy.bench.labels import read_labels
from trbert_deploy.bundle import Bundle
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.samples import random_batch
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.text.json_lines import read_json_lines
from trbert_deploy.text.rows import collate
from trbert_deploy.text.tokenizer import BundleTokenizer

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Rows as token ids.

    Attributes:
        name: for the report.
        task: whose inputs they are.
        inputs: int64 arrays as `Engine.run` takes them, all rows together, padded to the longest.
        labels: index of the right class of each row, None where the row has none; empty where none are counted.
    """

    name: str
    task: TaskSpec
    inputs: dict[str, IntArray]
    labels: list[int | None] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.inputs["input_ids"])

    @property
    def lengths(self) -> IntArray:
        """Real tokens of each row; where it has several sequences, of its longest."""
        lengths: IntArray = self.inputs["attention_mask"].sum(-1)
        return lengths.max(-1) if lengths.ndim == 2 else lengths

    @property
    def sequences(self) -> int:
        """Sequences that a row stands for, such as the options of multiple choice; else 1."""
        return self.inputs["input_ids"].shape[1] if self.task.sequences_axis else 1

    @property
    def entries(self) -> int:
        """Sentences or candidates of a row that the head scores, padding included; 0 where it scores none."""
        scored = [
            self.inputs[one.name] for one in self.task.own_inputs if len(one.axes) > 1 and one.name in self.inputs
        ]
        return max((array.shape[1] for array in scored), default=0)

    def batch(self, rows: IntArray) -> dict[str, IntArray]:
        """Inputs of some rows, cut to the longest of them."""
        width = int(self.lengths[rows].max())
        over_tokens = [one.name for one in self.task.inputs if one.per_token]
        return {
            name: np.ascontiguousarray(array[rows][..., :width]) if name in over_tokens else array[rows]
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
        path: lines as `trbert_deploy.text.items` lists them, with an optional ``label``.
        limit: so many lines at most.

    Raises:
        InputError: a line cannot be used, or there is none.
    """
    lines = list(islice(read_json_lines(path), limit))
    if not lines:
        raise InputError(f"{path} has no lines", 'write one JSON object a line, e.g. {"text": "...", "label": 1}')
    rows, task = BundleTokenizer.of(bundle).encode(lines), bundle.manifest.task
    return Dataset(path.name, task, collate(rows, task), read_labels(bundle.manifest, lines))


def random_dataset(bundle: Bundle, lengths: Sequence[int], seed: int) -> Dataset:
    """Rows of exactly these lengths: random tokens, between [CLS] and [SEP] where the bundle has a tokenizer.

    Raises:
        InputError: the model does not take rows that long.
    """
    task = bundle.manifest.task
    if max(lengths) > task.max_length:
        raise InputError(
            f"rows of {max(lengths)} tokens were asked for, the model takes {task.max_length}",
            f"--length {task.max_length}",
        )
    inputs = random_batch(task, lengths, np.random.default_rng(seed))
    if (ends := BundleTokenizer.of(bundle).ends) is not None:
        last = inputs["attention_mask"].sum(-1) - 1
        for position, token in ((last, ends[1]), (np.zeros_like(last), ends[0])):
            np.put_along_axis(inputs["input_ids"], position[..., None], token, -1)
    return Dataset("random tokens", task, inputs)


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
