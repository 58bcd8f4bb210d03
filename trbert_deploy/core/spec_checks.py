"""What a task's specification says in one place agrees with what it says in another.

Readers rely on it: where a check here is passed, no request, item or output makes them look for what is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import prod

from trbert_deploy.core.decoding_checks import check_decoding
from trbert_deploy.core.specs import CLS, SEP, InputSpec, TaskSpec, TextSpec

#: Inputs over tokens that rows of text and of token ids can have.
TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

_LARGEST = 2**31 - 1
_MOST_FIXED = 2**20  # so that an array of one row fills no memory
_LARGEST_FLOAT32 = float(2**128 - 2**104)


def check_task(task: TaskSpec) -> None:
    """See that a task can be asked and answered.

    Raises:
        ValueError: its parts contradict one another; the message names the field.
    """
    _in_range("max_length", task.max_length, 1)
    names = [spec.name for spec in task.inputs]
    if names[:2] != ["input_ids", "attention_mask"] or len(set(names)) < len(names):
        raise ValueError(f"inputs must begin with input_ids and attention_mask, each once, not {names}")
    row_axes = task.inputs[0].axes
    if row_axes != (("batch", task.sequences_axis, "length") if task.sequences_axis else ("batch", "length")):
        raise ValueError(f"the axes {list(row_axes)} of input_ids do not fit sequences_axis {task.sequences_axis}")
    for spec in task.inputs:
        _check_input(spec, task)
    if task.protected_from is not None:
        _require_row_input(task, task.protected_from, "protected_from")
    outputs = [spec.name for spec in task.outputs]
    if not outputs or len(set(outputs)) < len(outputs):
        raise ValueError(f"a task needs outputs, each once, not {outputs}")
    for output in task.outputs:
        _check_axes(output.name, output.axes)
        if abs(output.padding) > _LARGEST_FLOAT32:
            raise ValueError(f"{output.name}: its padding {output.padding:g} is larger than a float32 can be")
        if "length" in output.axes and (not output.per_token or task.sequences_axis):
            raise ValueError(f"{output.name}: length can be the second axis, of rows that are one sequence")
    if task.text is not None:
        _check_text(task.text, task)
    check_decoding(task)


def _check_axes(name: str, axes: tuple[str | int, ...]) -> None:
    """The batch, then names, then sizes."""
    if axes[:1] != ("batch",):
        raise ValueError(f"the first axis of {name} must be batch")
    fixed = [isinstance(axis, int) for axis in axes]
    sizes = [axis for axis in axes if isinstance(axis, int)]
    if fixed != sorted(fixed) or not all(1 <= size <= _MOST_FIXED for size in sizes) or prod(sizes) > _MOST_FIXED:
        raise ValueError(
            f"{name}: axes of a fixed size come last, for 1 to {_MOST_FIXED} numbers in all, not {list(axes)}"
        )


def _check_input(spec: InputSpec, task: TaskSpec) -> None:
    _check_axes(spec.name, spec.axes)
    numbers = (spec.minimum, spec.padding, spec.maximum, spec.maximum_from_length, spec.default)
    for number in numbers:
        if number is not None:
            _in_range(spec.name, number, -_LARGEST - 1)
    if spec.maximum is not None and spec.maximum < spec.minimum:
        raise ValueError(f"{spec.name}: its maximum {spec.maximum} is below its minimum {spec.minimum}")
    most = _LARGEST if spec.maximum is None else spec.maximum
    if spec.default is not None and not spec.minimum <= spec.default <= most:
        raise ValueError(f"{spec.name}: its default {spec.default} is not among {spec.minimum} to {most}")
    if (spec.name in TOKEN_INPUTS) is not spec.per_token:
        raise ValueError(f"{spec.name}: inputs over tokens are {', '.join(TOKEN_INPUTS)}, and those are")
    if not spec.per_token:
        return
    if spec.axes != task.inputs[0].axes or spec.maximum is None:
        raise ValueError(f"{spec.name} is over tokens: it needs a maximum, and the axes of input_ids")
    if spec.default is None and spec.name != "input_ids":
        raise ValueError(f"{spec.name} needs a default")


def _check_text(text: TextSpec, task: TaskSpec) -> None:
    if not text.forms or not all(text.forms):
        raise ValueError("text: forms must name the keys of at least one item")
    for form in text.forms:
        _check_form(text, form)
    if text.each is not None and task.sequences_axis is None:
        raise ValueError("text: each makes a sequence of each member, but the rows are one sequence")
    if text.offsets is not None and text.offsets == text.each:
        raise ValueError("text: offsets cannot count in the members of each")
    for segment in text.segments:
        _in_range("text: token_type", segment.token_type, 0)
    for name in text.ends:
        _require_row_input(task, name, "text: ends")
    missing = [spec.name for spec in task.own_inputs if spec.default is None and spec.name not in text.ends]
    if missing:
        raise ValueError(f"text: nothing of an item says {', '.join(missing)}")


def _check_form(text: TextSpec, form: Collection[str]) -> None:
    """An item of these keys can be laid out; see `trbert_deploy.text.layout`."""
    parts = set(form)
    if len(parts) < len(form) or parts & {CLS, SEP, "input_ids"}:
        raise ValueError(f"text: {list(form)} is no form: its keys are none of a row's own, each once")
    standing = [
        [token for token in segment.tokens if token not in (CLS, SEP)]
        for segment in text.segments
        if parts.issuperset(set(segment.tokens) - {CLS, SEP})
    ]
    placed = [token for tokens in standing for token in tokens]
    if sorted(placed) != sorted(form):
        raise ValueError(f"text: segments place {placed} of an item of {list(form)}, not each of its parts once")
    if text.truncation == "longest_first" and len(form) > 2:
        raise ValueError(f"text: longest_first cuts one part or two, not {list(form)}")
    if text.truncation == "only" and text.cut is None:
        raise ValueError("text: truncation only needs cut")
    needed = [text.cut, text.each, text.offsets, *text.ends.values()]
    if lacking := [key for key in _given(needed) if key not in parts]:
        raise ValueError(f"text: an item of {list(form)} has no {', '.join(lacking)}")


def _given(keys: Iterable[str | None]) -> list[str]:
    return [key for key in keys if key is not None]


def _require_row_input(task: TaskSpec, name: str, field: str) -> None:
    """A number for each row."""
    spec = task.input(name)
    if spec is None or spec.axes != ("batch",):
        raise ValueError(f"{field} names {name}, which is no input with a number for each row")


def _in_range(field: str, number: int, least: int) -> None:
    if not least <= number <= _LARGEST:
        raise ValueError(f"{field} must lie in {least} to {_LARGEST}, not {number}")
