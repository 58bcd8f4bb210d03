"""One batch, checked once: what every runtime is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trbert_deploy.core.errors import InputError, first_line
from trbert_deploy.core.specs import InputSpec, TaskSpec

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Request:
    """A valid batch.

    Attributes:
        task: what is asked.
        arrays: int64 inputs by name, those over tokens cut to the longest row.
        lengths: int64 [B], real tokens of each row (of its longest sequence).
        width: N as the caller gave it; outputs over tokens are padded back to it.
    """

    task: TaskSpec
    arrays: dict[str, IntArray]
    lengths: IntArray
    width: int

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    @property
    def sequences(self) -> int:
        """How many sequences a row holds: the options in multiple choice, else one."""
        return self.arrays["input_ids"].shape[1] if self.task.sequences_axis else 1

    @property
    def protected_from(self) -> IntArray | None:
        """Int64 [B]: from which token on each row keeps everything; None where the task protects none."""
        name = self.task.protected_from
        return None if name is None else self.arrays[name]

    def take(self, name: str, rows: IntArray, width: int) -> IntArray:
        """The named input for some rows, cut to `width` tokens where it is over tokens."""
        array = self.arrays[name][rows]
        spec = self.task.input(name)
        return np.ascontiguousarray(array[..., :width]) if spec is not None and spec.per_token else array


def check_request(task: TaskSpec, given: Mapping[str, object]) -> Request:
    """Check a caller's arrays against the model.

    Args:
        task: what the model takes.
        given: its inputs, of which those with a default may be left out; anything that numpy takes for an array of
            integers. None counts as not given.

    Raises:
        InputError: something does not fit; the message names the input, the row and the limit.
    """
    arrays = _present(task, given)
    ids = arrays["input_ids"]
    _check_shape(task, ids)
    for spec in task.inputs:
        if spec.default is not None:
            arrays.setdefault(spec.name, np.full(_default_shape(spec, ids), spec.default, dtype=np.int64))
    per_token = [spec for spec in task.inputs if spec.per_token]
    for spec in per_token:
        if arrays[spec.name].shape != ids.shape:
            shape = list(arrays[spec.name].shape)
            raise InputError(f"{spec.name} is of shape {shape}, but input_ids of {list(ids.shape)}")
    mask = arrays["attention_mask"]
    _check_mask(mask)
    lengths = _lengths(task, mask)
    longest = int(lengths.max())
    for spec in per_token:
        if spec.name != "attention_mask":
            _check_tokens(spec, arrays[spec.name], mask)
    for spec in task.own_inputs:
        _check_own(spec, arrays[spec.name], lengths)
    for spec in per_token:
        cut = np.ascontiguousarray(arrays[spec.name][..., :longest])
        arrays[spec.name] = cut if spec.name == "attention_mask" else _inside(spec, cut)
    return Request(task, arrays, lengths, ids.shape[-1])


def _present(task: TaskSpec, given: Mapping[str, object]) -> dict[str, IntArray]:
    """The arrays that were given, as integers; what the model does not know is refused."""
    present = {name: value for name, value in given.items() if value is not None}
    names = [spec.name for spec in task.inputs]
    if "token_type_ids" not in names:  # accepted, as from a BERT tokenizer, and not used
        present.pop("token_type_ids", None)
    if unknown := sorted(present.keys() - set(names)):
        raise InputError(f"task {task.name} takes no {', '.join(unknown)}", f"it takes: {', '.join(sorted(names))}")
    needed = [spec.name for spec in task.inputs if spec.default is None]
    if missing := [name for name in needed if name not in present]:
        raise InputError(f"task {task.name} needs {', '.join(missing)}")
    return {name: _integers(name, value) for name, value in present.items()}


def _check_shape(task: TaskSpec, ids: IntArray) -> None:
    if ids.size == 0:
        raise InputError(f"the batch is empty: input_ids is of shape {list(ids.shape)}", "give at least one row")
    axes = task.inputs[0].axes
    if ids.ndim != len(axes):
        raise InputError(f"input_ids must be {_named(axes)}, not of shape {list(ids.shape)}")


def _default_shape(spec: InputSpec, ids: IntArray) -> tuple[int, ...]:
    """Of an input that is not given: that of the ids, or one entry along each axis that varies."""
    if spec.per_token:
        return ids.shape
    return (len(ids), *(1 if isinstance(axis, str) else axis for axis in spec.axes[1:]))


def _named(axes: tuple[str | int, ...]) -> str:
    """Axes for people."""
    words = {"batch": "rows", "length": "tokens"}
    return "[" + ", ".join(words.get(axis, axis) if isinstance(axis, str) else str(axis) for axis in axes) + "]"


def _integers(name: str, value: object) -> IntArray:
    ragged = InputError(f"{name} is not a rectangular array: pad its rows to one length")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ragged from error
    except Exception as error:  # from the value's own conversion: a tensor on a GPU, say
        raise InputError(f"{name} cannot be read as an array: {first_line(error)}", "give integers") from error
    if array.dtype == object:  # what numpy has no type for: integers beyond 64 bits, None, rows of several lengths
        for place, one in np.ndenumerate(array):
            if isinstance(one, list | tuple | np.ndarray):
                raise ragged
            if not isinstance(one, int | np.integer):
                what = "None" if one is None else f"of type {type(one).__name__}"
                raise InputError(f"{_at(name, place)} is {what}, not an integer")
    elif array.size and array.dtype.kind not in "iub":
        raise InputError(f"{name} must hold integers, not {'text' if array.dtype.kind == 'U' else array.dtype}")
    if array.dtype.kind in "uO":
        limits = np.iinfo(np.int64)
        beyond = (array < limits.min) | (array > limits.max)
        if beyond.any():
            place = tuple(int(axis) for axis in np.argwhere(beyond)[0])
            raise InputError(f"{_at(name, place)} does not fit in int64", "use the tokenizer that came with the model")
    return array.astype(np.int64)


def _at(name: str, place: Sequence[int]) -> str:
    return f"{name}{list(place)}" if place else name


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


def _lengths(task: TaskSpec, mask: IntArray) -> IntArray:
    """Real tokens of each row, no more than the model takes."""
    lengths: IntArray = mask.sum(-1)
    if task.sequences_axis:
        lengths = lengths.max(-1)
    row = int(np.argmax(lengths))
    if lengths[row] > task.max_length:
        raise InputError(
            f"row {row} has {int(lengths[row])} tokens, the model takes {task.max_length}",
            "truncate it (a tokenizer's truncation=True) or split the text",
        )
    return lengths


def _check_tokens(spec: InputSpec, array: IntArray, mask: IntArray) -> None:
    assert spec.maximum is not None
    wrong = ((array < spec.minimum) | (array > spec.maximum)) & (mask > 0)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        what = "the vocabulary" if spec.name == "input_ids" else spec.name.removesuffix("_ids").replace("_", " ") + "s"
        raise InputError(
            f"{spec.name}{list(first)} is {int(array[first])}, but {what} of this model ends at {spec.maximum}",
            "use the tokenizer that came with the model",
        )


def _check_own(spec: InputSpec, array: IntArray, lengths: IntArray) -> None:
    sizes = [axis for axis in spec.axes if isinstance(axis, int)]
    fits = array.ndim == len(spec.axes) and len(array) == len(lengths)
    if not fits or (sizes and list(array.shape[-len(sizes) :]) != sizes):
        raise InputError(f"{spec.name} must be {_named(spec.axes)} with {len(lengths)} rows, not {list(array.shape)}")
    per_row = array.reshape(len(array), -1)
    wrong = per_row < spec.minimum
    if spec.maximum is not None:
        wrong |= per_row > spec.maximum
    if spec.maximum_from_length is not None:
        wrong |= per_row > lengths[:, None] + spec.maximum_from_length
    if wrong.any():
        row = int(np.argmax(wrong.any(-1)))
        raise InputError(f"{spec.name} of row {row} must be {_allowed(spec)}; the row has {int(lengths[row])} tokens")


def _allowed(spec: InputSpec) -> str:
    """The range of an input, for people."""
    if spec.maximum_from_length == -1:
        return "positions in the row" + (" (-1: absent)" if spec.minimum == -1 else "")
    if spec.maximum_from_length == 0:
        return f"{spec.minimum} to the row's length"
    return f"from {spec.minimum}" + ("" if spec.maximum is None else f" to {spec.maximum}")


def _inside(spec: InputSpec, array: IntArray) -> IntArray:
    """Padding may hold anything; what lies outside an embedding's table is brought inside.

    In multiple choice what stands behind a shorter option does count, as upstream: its states enter the selector's mean
    over the options.
    """
    assert spec.maximum is not None
    if spec.name == "input_ids":
        return np.where((array >= spec.minimum) & (array <= spec.maximum), array, 0)
    return np.clip(array, spec.minimum, spec.maximum)
