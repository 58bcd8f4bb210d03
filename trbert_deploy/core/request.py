"""One batch, checked once: what every runtime is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trbert_deploy.core.errors import InputError
from trbert_deploy.tasks import Task

IntArray = npt.NDArray[np.int64]

_ROW_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Limits:
    """What a model can be given.

    Attributes:
        max_length: tokens in a row.
        vocab_size: token ids are below it.
        token_types: token type ids are below it; 0 where the model takes none (DistilBERT).
    """

    max_length: int
    vocab_size: int
    token_types: int


@dataclass(frozen=True)
class Request:
    """A valid batch.

    Attributes:
        task: what is asked.
        arrays: int64 inputs by name, those of `_ROW_INPUTS` cut to the longest row.
        lengths: int64 [B], real tokens of each row (in multiple choice: of its longest option).
        width: N as the caller gave it; outputs over tokens are padded back to it.
    """

    task: Task
    arrays: dict[str, IntArray]
    lengths: IntArray
    width: int

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    @property
    def rows_a_row(self) -> int:
        """How many sequences a row runs: the options in multiple choice, else one."""
        return self.arrays["input_ids"].shape[1] if self.task.multiple_choice else 1

    def take(self, name: str, rows: IntArray, width: int) -> IntArray:
        """The named input for some rows, cut to `width` tokens where it is over tokens."""
        array = self.arrays[name][rows]
        return np.ascontiguousarray(array[..., :width]) if name in _ROW_INPUTS else array


def check_request(task: Task, limits: Limits, given: Mapping[str, object]) -> Request:
    """Check a caller's arrays against the task and the model.

    Args:
        task: the model's task.
        limits: the model's limits.
        given: input_ids, and optionally attention_mask (all ones), token_type_ids (zeros) and the task's inputs;
            anything that numpy takes for an array of integers. None counts as not given.

    Raises:
        InputError: something does not fit; the message names the input, the row and the limit.
    """
    present = {name: value for name, value in given.items() if value is not None}
    allowed = {*_ROW_INPUTS, *task.inputs}
    if unknown := sorted(present.keys() - allowed):
        raise InputError(f"task {task.name} takes no {', '.join(unknown)}", f"it takes: {', '.join(sorted(allowed))}")
    if missing := [name for name in ("input_ids", *task.inputs) if name not in present]:
        raise InputError(f"task {task.name} needs {', '.join(missing)}")
    arrays = {name: _integers(name, value) for name, value in present.items()}
    ids = arrays["input_ids"]
    if ids.size == 0:
        raise InputError(f"the batch is empty: input_ids is of shape {list(ids.shape)}", "give at least one row")
    if ids.ndim != (3 if task.multiple_choice else 2):
        shape = "[rows, options, tokens]" if task.multiple_choice else "[rows, tokens]"
        raise InputError(f"input_ids must be {shape}, not of shape {list(ids.shape)}")
    arrays.setdefault("attention_mask", np.ones_like(ids))
    if limits.token_types:
        arrays.setdefault("token_type_ids", np.zeros_like(ids))
    for name in _ROW_INPUTS:
        if name in arrays and arrays[name].shape != ids.shape:
            raise InputError(f"{name} is of shape {list(arrays[name].shape)}, but input_ids of {list(ids.shape)}")
    if not limits.token_types:
        arrays.pop("token_type_ids", None)  # DistilBERT: accepted, as from a BERT tokenizer, and not used
    mask = arrays["attention_mask"]
    _check_mask(mask)
    lengths = mask.sum(-1)
    if task.multiple_choice:
        lengths = lengths.max(-1)
    longest = int(lengths.max())
    if longest > limits.max_length:
        row = int(np.argmax(lengths))
        raise InputError(
            f"row {row} has {longest} tokens, the model takes {limits.max_length}",
            "truncate it (a tokenizer's truncation=True) or split the text",
        )
    _check_range("input_ids", ids, mask, limits.vocab_size, "the vocabulary")
    if limits.token_types:
        _check_range("token_type_ids", arrays["token_type_ids"], mask, limits.token_types, "token types")
    for name in task.inputs:
        _check_task_input(name, arrays[name], lengths)
    width = ids.shape[-1]
    for name in _ROW_INPUTS:
        if name in arrays:
            arrays[name] = np.ascontiguousarray(arrays[name][..., :longest])
    # Padding may hold anything; what lies outside an embedding's table is brought inside. In multiple choice what
    # stands behind a shorter option does count, as upstream: its states enter the selector's mean over the options.
    arrays["input_ids"] = np.where(arrays["attention_mask"] > 0, arrays["input_ids"], _padding_of(arrays, limits))
    if "token_type_ids" in arrays:
        arrays["token_type_ids"] = np.clip(arrays["token_type_ids"], 0, limits.token_types - 1)
    return Request(task, arrays, lengths, width)


def _padding_of(arrays: dict[str, IntArray], limits: Limits) -> IntArray:
    ids = arrays["input_ids"]
    return np.where((ids >= 0) & (ids < limits.vocab_size), ids, 0)


def _integers(name: str, value: object) -> IntArray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} is not a rectangular array: pad its rows to one length") from error
    if array.dtype == object:
        raise InputError(f"{name} is not a rectangular array: pad its rows to one length")
    if array.size and not (np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_):
        raise InputError(f"{name} must hold integers, not {array.dtype}")
    return array.astype(np.int64)


def _check_mask(mask: IntArray) -> None:
    rows = mask.reshape(-1, mask.shape[-1])
    if ((rows != 0) & (rows != 1)).any():
        raise InputError("attention_mask must hold 0 and 1 only")
    empty = ~rows.any(-1)
    if empty.any():
        raise InputError(
            f"row {_row(mask, int(np.argmax(empty)))} is all padding", "leave the row out, or give it [CLS]"
        )
    holes = (np.diff(rows, axis=-1) > 0).any(-1)
    if holes.any():
        raise InputError(
            f"the attention_mask of row {_row(mask, int(np.argmax(holes)))} has a hole: a real token stands behind "
            "padding",
            "pad on the right only",
        )


def _row(mask: IntArray, flat: int) -> str:
    """The row's name; in multiple choice with its option."""
    if mask.ndim == 2:
        return str(flat)
    return f"{flat // mask.shape[1]} (option {flat % mask.shape[1]})"


def _check_range(name: str, array: IntArray, mask: IntArray, limit: int, what: str) -> None:
    wrong = ((array < 0) | (array >= limit)) & (mask > 0)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"{name}{list(first)} is {int(array[first])}, but {what} of this model ends at {limit - 1}",
            "use the tokenizer that came with the model",
        )


def _check_task_input(name: str, array: IntArray, lengths: IntArray) -> None:
    shapes = {
        "question_ends": "[rows]",
        "sentence_spans": "[rows, sentences, 2]",
        "candidate_positions": "[rows, candidates]",
    }
    dimensions = shapes[name].count(",") + 1
    fits = array.ndim == dimensions and len(array) == len(lengths)
    if not fits or (name == "sentence_spans" and array.shape[2] != 2):
        raise InputError(f"{name} must be {shapes[name]} with {len(lengths)} rows, not {list(array.shape)}")
    per_row = array.reshape(len(array), -1)
    if name == "question_ends":
        wrong, allowed = (per_row < 1) | (per_row > lengths[:, None]), "1 to the row's length"
    else:
        wrong, allowed = (per_row < -1) | (per_row >= lengths[:, None]), "positions in the row (-1: absent)"
    if wrong.any():
        row = int(np.argmax(wrong.any(-1)))
        raise InputError(f"{name} of row {row} must be {allowed}; the row has {int(lengths[row])} tokens")
