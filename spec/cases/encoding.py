"""Items of text to rows of token ids."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cases import tokenizer
from cases.refusals import refusal
from cases.tasks import all_tasks, as_json
from trbert_deploy.bundle.manifest import TokenizerFacts
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.text.rows import Row
from trbert_deploy.text.tokenizer import BundleTokenizer

_A, _B = "a a a a a a", "b b b b b b"
_CHOICE = {"context": "the film was good", "question": "what?", "choices": ["it", "yes yes", ""]}

#: Task, tokens of a row of text at most, and item.
_ENCODED: list[tuple[str, int, Any]] = [
    ("sequence-classification", 12, "The good film"),
    ("sequence-classification", 12, ""),
    ("sequence-classification", 12, ["", ""]),
    ("sequence-classification", 12, "\u2003\t \x1c"),  # white space alone
    ("sequence-classification", 12, ["a", "\u200b"]),  # nothing that makes a token
    ("sequence-classification", 12, ["films, filmed", "goodfilm unknown?"]),
    ("sequence-classification", 12, "Café 日本 [SEP] [MASK]b\u200b"),
    ("sequence-classification", 12, "a a a a a a a a a a"),  # fits exactly
    ("sequence-classification", 12, "a a a a a a a a a a a"),
    ("sequence-classification", 40, "the model's limit counts where the tokenizer's is larger a a a a"),
    ("sequence-classification", 11, [_A, _B]),  # an even room: both to a half
    ("sequence-classification", 12, [_A, _B]),  # an odd one, both of one length: the second keeps more
    ("sequence-classification", 12, ["a a a a a a a", _B]),  # the first is longer and keeps more
    ("sequence-classification", 12, ["a a", "b b b b b b b b b b"]),
    ("sequence-classification", 12, ["a a a a a a a a a a", ""]),
    ("sequence-classification", 4, ["a a", "b b"]),  # room for one
    ("sequence-classification", 3, ["a a", "b b"]),  # for none
    ("sequence-classification", 2, ["a a", "b b"]),  # for less than the special tokens, which stay
    ("sequence-classification", 1, "a"),
    ("without-types", 12, ["a b", "c"]),
    ("doubled", 12, ["a b", "c"]),
    ("doubled", 8, [_A, _B]),
    ("doubled", 12, {"text": "a"}),
    ("token-classification", 12, "Good-films, Café!"),
    ("token-classification", 5, "a b c a b"),
    ("token-classification", 2, "a"),
    ("token-classification", 12, ""),
    ("question-answering", 12, ["who?", "the films was 日本."]),
    ("question-answering", 12, ["who?", ""]),
    ("question-answering", 9, ["who was it?", "the film"]),
    ("question-answering", 8, ["who was it?", "the film"]),  # room for one token of the context
    ("question-answering", 7, ["who was it?", ""]),  # none is needed
    ("question-answering", 12, ["", "the film"]),
    ("multiple-choice", 12, _CHOICE),
    ("multiple-choice", 9, _CHOICE),
    ("multiple-choice", 8, _CHOICE),
    ("multiple-choice", 12, {"context": "", "question": "", "choices": [""]}),
    ("multiple-choice", 12, {"context": "a", "question": "", "choices": ["b", "c c"]}),
    ("padded-choices", 12, _CHOICE),
    ("passages", 12, {"query": "who", "title": "the film", "body": "it was good, yes"}),
    ("passages", 12, {"query": "who", "body": "it was good, yes it was good"}),
    ("passages", 8, {"query": "who", "title": "the film", "body": "it was good"}),
]

#: Those that do not fit.
_REFUSED: list[tuple[str, int, Any, str]] = [
    ("question-answering", 7, ["who was it?", "the film"], "its question take 4 tokens, which leaves no room"),
    ("question-answering", 5, ["who was it?", ""], "leaves no room for the context in a row of 5"),
    ("multiple-choice", 7, _CHOICE, "its question and longest choice take 4 tokens, which leaves no room"),
    ("passages", 7, {"query": "who", "title": "the film", "body": "it"}, "its query and title take 3 tokens"),
]


def vectors() -> dict[str, Any]:
    """Rows by the tokenizer beside the files."""
    names = [case[0] for case in (*_ENCODED, *_REFUSED)]
    with TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.json").write_text(tokenizer.text(), encoding="utf-8")
        cases = [_encoded(Path(folder), *case) for case in _ENCODED]
        cases += [_refused(Path(folder), *case) for case in _REFUSED]
    return {
        "what": "rows of token ids by tokenizer.json; room: tokens of a row of text at most, where the model takes no "
        "fewer; refused: a part of what is said",
        "tasks": as_json(names),
        "cases": cases,
    }


def bundle_tokenizer(folder: Path, task: TaskSpec, room: int) -> BundleTokenizer:
    """The tokenizer of a bundle of that task whose tokenizer.json lies in that folder."""
    return BundleTokenizer(folder, task, TokenizerFacts(folder=".", onnx=None, max_length=room))


def as_row(row: Row) -> dict[str, Any]:
    """What is compared of a row."""
    return {
        "arrays": {name: array.tolist() for name, array in row.arrays.items()},
        "length": row.length,
        "truncated": row.truncated,
        "empty": row.empty,
        "text": row.text,
        "offsets": row.offsets and [entry and list(entry) for entry in row.offsets],
        "choices": list(row.choices),
    }


def _encoded(folder: Path, task: str, room: int, item: Any) -> dict[str, Any]:
    (row,) = bundle_tokenizer(folder, all_tasks()[task], room).encode([item])
    return {"task": task, "room": room, "item": item, "row": as_row(row)}


def _refused(folder: Path, task: str, room: int, item: Any, says: str) -> dict[str, Any]:
    said = refusal(says, lambda: bundle_tokenizer(folder, all_tasks()[task], room).encode([item]))
    return {"task": task, "room": room, "item": item, "refused": said}
