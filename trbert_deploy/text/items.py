"""What an item to predict may be.

For each task:

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

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.request import IntArray, Limits, check_request
from trbert_deploy.tasks import Task

Offsets = list[tuple[int, int] | None]

#: For each task the sets of keys that make an item of text, the larger first.
_TEXT_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "sequence-classification": (("text", "text_pair"), ("text",)),
    "token-classification": (("text",),),
    "question-answering": (("question", "context"),),
    "multiple-choice": (("context", "question", "choices"),),
}
#: Which keys the parts of a plain text or of a tuple stand for.
_PLAIN_KEYS = {
    "sequence-classification": ("text", "text_pair"),
    "token-classification": ("text",),
    "question-answering": ("question", "context"),
}
_TOKEN_KEYS = ("input_ids", "attention_mask", "token_type_ids")
_OWN_KEYS = {
    "question_ends": "question_end",
    "sentence_spans": "sentence_spans",
    "candidate_positions": "candidate_positions",
}
_ABSENT = {"sentence_spans": [[-1, -1]], "candidate_positions": [-1]}


def takes_one_text(task: Task) -> bool:
    """Whether a text by itself is an item of the task."""
    return "text" in _PLAIN_KEYS.get(task.name, ())


@dataclass(frozen=True)
class Item:
    """One item, understood but not tokenized.

    Attributes:
        name: in messages: where it stands in a file, or its number.
        texts: in the order of the task's keys, choices last; empty for an item of token ids.
        arrays: of an item of token ids, int64 by name, checked against the model and without padding.
        context: of an item of token ids, what `offsets` count in.
        offsets: of an item of token ids, one entry a token.
        extras: the keys that are no input.
    """

    name: str
    texts: tuple[str, ...] = ()
    arrays: dict[str, IntArray] = field(default_factory=dict)
    context: str | None = None
    offsets: Offsets | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)


def read_item(task: Task, limits: Limits, item: object, number: int) -> Item:
    """Understand one item.

    Args:
        task: of the model.
        limits: of the model, for items of token ids.
        item: see the top of this module.
        number: its number, for messages about an item that does not know its line.

    Raises:
        InputError: it is none of what the task accepts; the message names the item and what is accepted.
    """
    name = getattr(item, "source", f"item {number}")
    plain_keys = _PLAIN_KEYS.get(task.name, ())
    if isinstance(item, str) and "text" in plain_keys:
        item = {"text": item}
    elif isinstance(item, tuple | list) and len(item) == 2 == len(plain_keys):
        item = dict(zip(plain_keys, item, strict=True))
    if not isinstance(item, Mapping):
        raise _not_understood(task, name, f"is a {type(item).__name__}")
    given = {key: value for key, value in item.items() if value is not None}
    if "input_ids" in given:
        return _read_token_ids(task, limits, given, name)
    for keys in _TEXT_KEYS.get(task.name, ()):
        # A pair to a task that takes none is a mistake, not an extra.
        if all(key in given for key in keys) and ("text_pair" not in given or "text_pair" in keys):
            texts = tuple(text for key in keys for text in _texts(given[key], key, name))
            return Item(name, texts, extras={key: given[key] for key in given if key not in keys})
    raise _not_understood(task, name, f"has the keys {', '.join(map(str, given)) or '(none)'}")


def _texts(value: object, key: str, name: str) -> list[str]:
    if key == "choices":
        if not isinstance(value, list | tuple) or not value:
            raise InputError(f"{name}: choices must be a list of texts, with at least one")
        return [text for choice in value for text in _texts(choice, "a choice", name)]
    if not isinstance(value, str):
        raise InputError(f"{name}: {key} must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name}: {key} holds half of a surrogate pair at character {error.start}", "repair the text"
        ) from error
    return [value]


def _read_token_ids(task: Task, limits: Limits, given: Mapping[str, Any], name: str) -> Item:
    inputs = {key: given[key] for key in _TOKEN_KEYS if key in given}
    extras = {key: value for key, value in given.items() if key not in _TOKEN_KEYS}
    for key in task.inputs:
        for spelling in (key, _OWN_KEYS[key]):
            if spelling in extras:
                value = extras.pop(spelling)
                inputs[key] = _ABSENT[key] if key in _ABSENT and _is_empty(value) else value
    try:
        request = check_request(task, limits, {key: [value] for key, value in inputs.items()})
    except InputError as error:
        raise InputError(f"{name}: {error.message}", error.hint or _accepted(task)) from error
    context, offsets = extras.pop("context", None), extras.pop("offsets", None)
    arrays = {key: np.asarray(array[0]) for key, array in request.arrays.items()}
    length = int(request.lengths[0])
    if offsets is None or not isinstance(context, str):
        return Item(name, arrays=arrays, extras=extras)
    return Item(name, (), arrays, context, _offsets(offsets, length, len(context), name), extras)


def _is_empty(value: object) -> bool:
    return isinstance(value, list | tuple) and not value


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


def _not_understood(task: Task, name: str, what: str) -> InputError:
    return InputError(f"{name} {what}, which task {task.name} does not take", _accepted(task))


def _accepted(task: Task) -> str:
    own = [_OWN_KEYS[key] for key in task.inputs]
    forms = ["{" + ", ".join(keys) + "}" for keys in _TEXT_KEYS.get(task.name, ())]
    forms.append("{" + ", ".join(["input_ids", *own]) + "} (token ids)")
    return f"it takes {' or '.join(forms)}"
