"""What an item to predict may be.

Which keys make an item of text, and what a plain text or a pair stands for, is said by the task's `TextSpec`:

======================= ====================================================================
task                    text
======================= ====================================================================
sequence classification ``"text"``, ``("text", "pair")``, ``{"text"}``, ``{"text", "text_pair"}``
token classification    ``"text"``, ``{"text"}``
question answering      ``("question", "context")``, ``{"question", "context"}``
multiple choice         ``{"context", "question", "choices": ["...", ...]}``
======================= ====================================================================

Every task takes token ids too, and HotpotQA and WikiHop, whose rows are put together from several
documents, take nothing else: ``{"input_ids", "attention_mask", "token_type_ids"}`` (the last two may be left
out) with the task's own ``question_end``, ``sentence_spans`` or ``candidate_positions``. So that an answer
can be given as text, ``context`` may stand beside them with ``offsets``: for each token ``[start, end]`` in
the context, or null for one that is no part of an answer.

Other keys, such as ``id`` and ``label``, are carried along.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.request import IntArray, check_request
from trbert_deploy.core.specs import InputSpec, TaskSpec

Offsets = list[tuple[int, int] | None]


def takes_one_text(task: TaskSpec) -> bool:
    """Whether a text by itself is an item of the task."""
    return task.text is not None and (task.text.positional[:1],) == task.text.forms[-1:] and bool(task.text.positional)


@dataclass(frozen=True)
class Item:
    """One item, understood but not tokenized.

    Attributes:
        name: in messages: where it stands in a file, or its number.
        parts: of an item of text: its texts by key, in the order of the form; a part that is a list has several.
        arrays: of an item of token ids, int64 by name, checked against the model and without padding.
        context: of an item of token ids, what `offsets` count in.
        offsets: of an item of token ids, one entry a token.
        extras: the keys that are no input.
    """

    name: str
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    arrays: dict[str, IntArray] = field(default_factory=dict)
    context: str | None = None
    offsets: Offsets | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, in order; empty for an item of token ids."""
        return tuple(text for part in self.parts.values() for text in part)


def read_item(task: TaskSpec, item: object, number: int) -> Item:
    """Understand one item.

    Args:
        task: of the model.
        item: see the top of this module.
        number: its number, for messages about an item that does not know its line.

    Raises:
        InputError: it is none of what the task accepts; the message names the item and what is accepted.
    """
    name = getattr(item, "source", f"item {number}")
    text = task.text
    positional = text.positional if text is not None else ()
    if isinstance(item, str) and takes_one_text(task):
        item = {positional[0]: item}
    elif isinstance(item, tuple | list) and len(item) == 2 == len(positional):
        item = dict(zip(positional, item, strict=True))
    if not isinstance(item, Mapping):
        raise _not_understood(task, name, f"is a {type(item).__name__}")
    given = {key: value for key, value in item.items() if value is not None}
    _check_id(given.get("id"), name)
    if "input_ids" in given:
        return _read_token_ids(task, given, name)
    for keys in text.forms if text is not None else ():
        # A pair to a task that takes none is a mistake, not an extra.
        if all(key in given for key in keys) and ("text_pair" not in given or "text_pair" in keys):
            parts = {key: _texts(given[key], key, name, key == (text and text.each)) for key in keys}
            return Item(name, parts, extras={key: given[key] for key in given if key not in keys})
    raise _not_understood(task, name, f"has the keys {', '.join(map(str, given)) or '(none)'}")


def _check_id(value: object, name: str) -> None:
    """It is handed through to the prediction, which is to be JSON."""
    if isinstance(value, float | list | tuple | Mapping):
        try:
            json.dumps(value, allow_nan=False, default=str)
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{name}: its id cannot be written as JSON: {error}", "give text or a number") from error


def _texts(value: object, key: str, name: str, several: bool) -> tuple[str, ...]:
    if several:
        if not isinstance(value, list | tuple) or not value:
            raise InputError(f"{name}: {key} must be a list of texts, with at least one")
        return tuple(text for one in value for text in _texts(one, f"a {key.removesuffix('s')}", name, False))
    if not isinstance(value, str):
        raise InputError(f"{name}: {key} must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name}: {key} holds half of a surrogate pair at character {error.start}", "repair the text"
        ) from error
    return (value,)


def _read_token_ids(task: TaskSpec, given: Mapping[str, Any], name: str) -> Item:
    extras = dict(given)
    inputs: dict[str, object] = {}
    for spec in task.inputs:
        for spelling in (spec.name, spec.key):
            if spelling in extras:
                inputs[spec.name] = _given(spec, extras.pop(spelling))
    extras.pop("token_type_ids", None)  # as from a BERT tokenizer, and not used
    try:
        request = check_request(task, {key: [value] for key, value in inputs.items()})
    except InputError as error:
        raise InputError(f"{name}: {error.message}", error.hint or _accepted(task)) from error
    context, offsets = extras.pop("context", None), extras.pop("offsets", None)
    arrays = {key: np.asarray(array[0]) for key, array in request.arrays.items()}
    length = int(request.lengths[0])
    if offsets is None or not isinstance(context, str):
        return Item(name, arrays=arrays, extras=extras)
    return Item(name, {}, arrays, context, _offsets(offsets, length, len(context), name), extras)


def _given(spec: InputSpec, value: object) -> object:
    """An input; an empty list of sentences or candidates stands for one that is absent."""
    if isinstance(value, list | tuple) and not value and spec.padding < 0 and not spec.per_token:
        return np.full([1 if isinstance(axis, str) else axis for axis in spec.axes[1:]], spec.padding)
    return value


def _offsets(value: object, length: int, characters: int, name: str) -> Offsets:
    if not isinstance(value, list | tuple) or len(value) < length:
        raise InputError(f"{name}: offsets must be a list with an entry for each of the {length} tokens")
    offsets: Offsets = []
    for place, entry in enumerate(value[:length]):
        match entry:
            case None:
                offsets.append(None)
            case [int(start), int(end)] if 0 <= start <= end <= characters:
                offsets.append((start, end))
            case _:
                raise InputError(
                    f"{name}: offsets[{place}] must be null or [start, end] within the {characters} "
                    f"characters of the context, not {entry!r}"
                )
    return offsets


def _not_understood(task: TaskSpec, name: str, what: str) -> InputError:
    return InputError(f"{name} {what}, which task {task.name} does not take", _accepted(task))


def _accepted(task: TaskSpec) -> str:
    forms = ["{" + ", ".join(keys) + "}" for keys in (task.text.forms if task.text is not None else ())]
    own = [spec.key for spec in task.own_inputs]
    forms.append("{" + ", ".join(["input_ids", *own]) + "} (token ids)")
    return f"it takes {' or '.join(forms)}"
