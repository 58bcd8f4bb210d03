"""Labelled rows: read, tokenized once, and cut into batches of like lengths in an order that a seed decides."""

from __future__ import annotations

import glob
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trbert_deploy.core.errors import InputError, first_line
from trbert_deploy.text.json_lines import read_json_lines

_JSON_LINES = (".jsonl", ".json", ".xz", ".gz")
_TABLES = {".csv": "csv", ".parquet": "parquet"}
_POOL = 64  # batches whose rows are sorted by length together
_SHOWN = 10  # label names in a message
_TOKENIZED = 1000  # rows at a time
_WIDTH = 16  # batches are padded to a multiple of it: matrix kernels are compiled and tuned for each new shape


@dataclass(frozen=True)
class Examples:
    """A labelled data set.

    Attributes:
        texts: one entry a row: the text, or text and pair.
        labels: int64 [rows], index into `names`.
        names: the labels' names, in order.
    """

    texts: list[tuple[str, ...]]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def digest(self) -> str:
        """A short name that changes with any text or label."""
        whole = hashlib.sha256()
        for row in zip(self.texts, self.labels.tolist(), strict=True):
            whole.update(repr(row).encode("utf-8", "surrogatepass"))
        return whole.hexdigest()[:16]

    def take(self, rows: npt.NDArray[np.int64]) -> Examples:
        """Some of the rows."""
        return Examples([self.texts[row] for row in rows], self.labels[rows], self.names)


@dataclass(frozen=True)
class Batch:
    """Rows of a step, padded to the longest of them.

    Attributes:
        input_ids: int64 [B, N].
        attention_mask: int64 [B, N], real tokens first.
        token_type_ids: int64 [B, N].
        labels: int64 [B].
        rows: int64 [B], their numbers in the data set.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    labels: Tensor
    rows: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What the model reads."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "token_type_ids": self.token_type_ids,
        }

    def __len__(self) -> int:
        return len(self.labels)


def read_examples(path: Path | str, names: Sequence[str] | None = None) -> Examples:
    """Read a labelled file.

    Args:
        path: JSON lines (.jsonl, also .xz or .gz), CSV or parquet, with the columns ``text``, ``label`` and, for pairs,
            ``text_pair``. Labels are numbers from 0 or names. In CSV, digits are a name where `names` has it.
        names: the model's labels in order; by default what the file holds.

    Raises:
        InputError: the file cannot be read, a column is missing, or a label is not one of `names`; the row is named.
            Or, without `names`, numbers up to the largest leave more than half of the classes without a row.
    """
    path = Path(path)
    texts: list[tuple[str, ...]] = []
    given: list[str | int] = []
    sources: list[str] = []
    for number, row in enumerate(_rows(path), 1):
        source = getattr(row, "source", f"{path}, row {number}")
        match row.get("text"), row.get("text_pair"), row.get("label"):
            case str(text), (None | str()) as pair, (str() | int()) as label if not isinstance(label, bool):
                texts.append((text,) if pair is None else (text, pair))
                given.append(label)
            case _:
                has = ", ".join(f"{name} ({type(value).__name__})" for name, value in row.items())
                raise InputError(
                    f"{source} must have text and a label that is a name or a whole number, it has {has or 'nothing'}",
                    'write {"text": "...", "label": 0}, and "text_pair" for pairs',
                )
        sources.append(source)
    if not texts:
        raise InputError(f"{path} holds no rows")
    digits = all(str(label).removeprefix("-").isdecimal() for label in given)
    if path.suffix == ".csv" and digits and set(given).isdisjoint(names or ()):
        given = [int(label) for label in given]  # CSV has no types
    names = tuple(names) if names else _names_of(given, path)
    number_of: dict[str | int, int] = {name: number for number, name in enumerate(names)}
    number_of |= {number: number for number in range(len(names))}
    labels = np.empty(len(given), dtype=np.int64)
    for row_number, label in enumerate(given):
        if label not in number_of:
            raise InputError(f"{sources[row_number]}: label {label!r} is none of {_some(names)}")
        labels[row_number] = number_of[label]
    return Examples(texts, labels, names)


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix in _JSON_LINES:
        yield from read_json_lines(path)
        return
    if path.suffix not in _TABLES:
        raise InputError(
            f"{path} is of no known kind", f"known are {', '.join([*_JSON_LINES[:1], '.jsonl.xz', *_TABLES])}"
        )
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    import datasets

    kind = _TABLES[path.suffix]
    # CSV as it is written: "NA" and "12" are texts too
    texts = dict.fromkeys(("text", "text_pair", "label"), str)
    as_written = {"converters": texts, "keep_default_na": False} if kind == "csv" else {}
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        try:
            files = glob.escape(str(path))
            table = datasets.load_dataset(kind, data_files=files, split="train", cache_dir=cache, **as_written)
        except (ValueError, OSError, datasets.exceptions.DatasetGenerationError) as error:
            reason = first_line(error.__cause__ or error)
            raise InputError(f"{path} cannot be read as {kind}, or holds no rows: {reason}") from error
        for row in table:
            # an empty field of a CSV is a missing one, but a text may be empty
            yield {name: value for name, value in row.items() if value != "" or name == "text" or kind == "parquet"}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _names_of(labels: Sequence[str | int], path: Path) -> tuple[str, ...]:
    """Names in order of the numbers, or sorted."""
    kinds = {type(label) for label in labels}
    if len(kinds) > 1:
        raise InputError(f"{path} mixes numbers and names as labels")
    if kinds == {str}:
        return tuple(sorted({str(label) for label in labels}))
    numbers = {int(label) for label in labels}
    if min(numbers) < 0:
        raise InputError(f"{path} holds the label {min(numbers)}", "number the labels from 0")
    classes = max(max(numbers) + 1, 2)
    if classes > 2 * len(numbers):  # they are somebody's ids: most of the classes would have no row
        raise InputError(
            f"{path} holds labels up to {max(numbers)}, of which only {len(numbers)} occur",
            "number the labels from 0 without gaps, or name every class: --labels",
        )
    return tuple(f"LABEL_{number}" for number in range(classes))


class TokenizedExamples:
    """Examples as token ids, ready to be cut into batches.

    Attributes:
        labels: int64 [rows].
        lengths: int64 [rows], real tokens.
        largest_id: of all tokens.
        has_second: whether any token is of the second token type.
    """

    def __init__(self, examples: Examples, tokenizer: Any, max_length: int) -> None:
        self.labels = examples.labels
        self._max_length = max_length
        self._ids = [np.zeros(0, dtype=np.int32)] * len(examples)
        self._second = [0] * len(examples)  # where the pair's tokens begin
        for parts in (1, 2):
            numbers = [number for number, row in enumerate(examples.texts) if len(row) == parts]
            for some in (numbers[start : start + _TOKENIZED] for start in range(0, len(numbers), _TOKENIZED)):
                texts = (list(column) for column in zip(*(examples.texts[number] for number in some), strict=True))
                encoded = tokenizer(*texts, truncation=True, max_length=max_length, return_token_type_ids=True)
                for number, ids, types in zip(some, encoded["input_ids"], encoded["token_type_ids"], strict=True):
                    self._ids[number] = np.asarray(ids, dtype=np.int32)
                    self._second[number] = len(types) - sum(types)
        self.lengths = np.array([len(ids) for ids in self._ids], dtype=np.int64)
        self.largest_id = max(int(ids.max(initial=0)) for ids in self._ids)
        self.has_second = bool((self.lengths > self._second).any())

    def __len__(self) -> int:
        return len(self._ids)

    def batch(self, rows: npt.NDArray[np.int64]) -> Batch:
        """These rows together."""
        width = min(-(-int(self.lengths[rows].max()) // _WIDTH) * _WIDTH, self._max_length)
        ids = np.zeros((len(rows), width), dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for place, row in enumerate(rows):
            length = int(self.lengths[row])
            ids[place, :length] = self._ids[row]
            mask[place, :length] = 1
            types[place, self._second[row] : length] = 1
        arrays = (ids, mask, types, self.labels[rows], rows)
        return Batch(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every row once, the longest first."""
        order = np.argsort(-self.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            yield self.batch(order[start : start + batch_size])


class BatchPlan:
    """Which rows each step of a phase takes: epochs in random order, rows of like lengths together.

    The same for the same seed, whatever happened before: a resumed run sees the batches it would have seen.
    """

    def __init__(self, lengths: npt.NDArray[np.int64], batch_size: int, epochs: float, seed: int) -> None:
        if len(lengths) < batch_size:
            raise InputError(f"{len(lengths)} rows do not fill a batch of {batch_size}", "give a smaller batch size")
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        self._per_epoch = len(lengths) // batch_size
        self._epoch, self._batches = -1, [np.zeros(0, dtype=np.int64)]
        self.steps = max(1, round(self._per_epoch * epochs))

    def rows(self, step: int) -> npt.NDArray[np.int64]:
        """Row numbers of a step, 0 to `steps` - 1."""
        epoch, place = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._plan(epoch)
        return self._batches[place]

    def _plan(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        random = np.random.default_rng((self._seed, epoch))
        order = random.permutation(len(self._lengths))[: self._per_epoch * self._batch_size]
        batches = []
        for start in range(0, len(order), _POOL * self._batch_size):
            pool = order[start : start + _POOL * self._batch_size]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches += np.split(pool, len(pool) // self._batch_size)
        return [batches[place] for place in random.permutation(len(batches))]


def hold_out(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """Set rows aside at random, to evaluate on.

    Returns:
        The rest, and `fraction` of the rows; at least one row each.
    """
    order = np.random.default_rng(seed).permutation(len(examples))
    cut = min(max(1, round(len(examples) * fraction)), len(examples) - 1)
    return examples.take(np.sort(order[cut:])), examples.take(np.sort(order[:cut]))
