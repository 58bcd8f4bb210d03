"""Rows of token ids: one item each, and how they are put together to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.request import IntArray
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.text.items import Offsets


@dataclass(frozen=True)
class Row:
    """One item, tokenized.

    Attributes:
        arrays: int64 inputs by name, without the batch's axis: ``input_ids`` [N], in multiple choice
            [options, N], and so on; no padding but of shorter options.
        length: N, real tokens (in multiple choice of the longest option).
        text: what `offsets` count in: the context in question answering.
        offsets: for each token the characters [start, end) of `text` that it stands for; None for a token of
            something else. None altogether where nothing is answered token by token, or nothing is known.
        choices: the options' texts, in multiple choice of text.
        extras: what the item held beside its inputs, such as ``id`` and ``label``.
        truncated: whether tokens were left out to fit the model.
        empty: whether one of the item's texts says nothing: it is empty, or white space alone, or without a token.
        texts: all of the item's, in the row's order, choices last; empty where it was given as token ids.
        places: for each of `texts` where its tokens stand in the row (a choice's: in its own option). Where
            there is no room for all, the text's first ones stand there.
        name: in messages: where the item stands in a file, or its number.
    """

    arrays: dict[str, IntArray]
    length: int
    text: str | None = None
    offsets: Offsets | None = None
    choices: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
    truncated: bool = False
    empty: bool = False
    texts: tuple[str, ...] = ()
    places: tuple[range, ...] = ()
    name: str = ""

    @property
    def sequences(self) -> int:
        """Sequences that the row stands for: the options in multiple choice, else one."""
        ids = self.arrays["input_ids"]
        return len(ids) if ids.ndim == 2 else 1


def collate(rows: Sequence[Row], task: TaskSpec) -> dict[str, IntArray]:
    """Pad rows on the right into arrays for `Engine.run`.

    Args:
        rows: at least one; in multiple choice all with the same number of options.
        task: of the model.

    Returns:
        int64 arrays by name, each with the axes of its `InputSpec`.

    Raises:
        InputError: there is no row, or rows have different numbers of options.
    """
    if not rows:
        raise InputError("there is no row to make a batch of", "give at least one item")
    if len({row.sequences for row in rows}) > 1:
        raise InputError(
            f"rows of a {task.name} batch have {sorted({row.sequences for row in rows})} {task.sequences_axis}",
            f"batch rows with the same number of {task.sequences_axis} together",
        )
    batch = {}
    for name, first in rows[0].arrays.items():
        parts = [row.arrays[name] for row in rows]
        shape = [max(part.shape[axis] for part in parts) for axis in range(first.ndim)]
        spec = task.input(name)
        whole = np.full([len(rows), *shape], spec.padding if spec is not None else 0, dtype=np.int64)
        for place, part in enumerate(parts):
            whole[place, ...][tuple(slice(size) for size in part.shape)] = part
        batch[name] = whole
    return batch
