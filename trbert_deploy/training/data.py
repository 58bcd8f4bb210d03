"""Labelled rows, read from a file."""

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

from trbert_deploy.core.errors import InputError, first_line
from trbert_deploy.text.json_lines import read_json_lines

_JSON_LINES = (".jsonl", ".json", ".xz", ".gz")
_TABLES = {".csv": "csv", ".parquet": "parquet"}
_SHOWN = 10  # label names in a message


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


def hold_out(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """Set rows aside at random, to evaluate on.

    Returns:
        The rest, and `fraction` of the rows; at least one row each.
    """
    order = np.random.default_rng(seed).permutation(len(examples))
    cut = min(max(1, round(len(examples) * fraction)), len(examples) - 1)
    return examples.take(np.sort(order[cut:])), examples.take(np.sort(order[:cut]))
