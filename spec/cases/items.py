"""What an item may be, before its texts are tokenized."""

from __future__ import annotations

from typing import Any

from cases.refusals import refusal
from cases.tasks import all_tasks, as_json
from trbert_deploy.text.items import Item, read_item

_IDS = [5, 6, 7]

#: Task and item, of those that are understood.
_ACCEPTED: list[tuple[str, Any]] = [
    ("sequence-classification", {"text": "a film"}),
    ("sequence-classification", "a film"),
    ("sequence-classification", ["a film", "and its pair"]),
    ("sequence-classification", {"text": "a", "text_pair": "b", "label": 1, "id": "x"}),
    ("sequence-classification", {"text": "a", "text_pair": None}),
    ("sequence-classification", {"text": ""}),
    ("sequence-classification", {"input_ids": _IDS}),
    ("sequence-classification", {"input_ids": _IDS, "text": "ids come first", "attention_mask": None}),
    ("sequence-classification", {"input_ids": [5]}),
    ("sequence-classification", {"input_ids": list(range(12))}),
    ("sequence-classification", {"input_ids": [0] * 20, "attention_mask": [1] * 12 + [0] * 8}),
    ("sequence-classification", {"input_ids": [5, 6, 999, -4], "attention_mask": [1, 1, 0, 0]}),
    ("sequence-classification", {"input_ids": [True, 39, False], "token_type_ids": [0, 1, True]}),
    ("sequence-classification", {"input_ids": _IDS, "context": "añb", "offsets": [None, [0, 2], [2, 3]]}),
    ("sequence-classification", {"input_ids": _IDS, "context": "añb", "offsets": [None, [3, 3], [0, 0], "more"]}),
    ("sequence-classification", {"input_ids": _IDS, "offsets": "without a context they mean nothing"}),
    ("without-types", {"input_ids": _IDS, "token_type_ids": [7, 7, 7]}),
    ("without-types", {"input_ids": _IDS, "token_type_ids": "not looked at"}),
    ("question-answering", {"question": "who?", "context": "a b"}),
    ("question-answering", ["who?", "a b"]),
    ("token-classification", "a b"),
    ("multiple-choice", {"context": "a", "question": "b", "choices": ["c", ""]}),
    ("multiple-choice", {"context": "a", "question": "b", "choices": ["c"], "text": "an extra"}),
    ("multiple-choice", {"input_ids": [[5, 6], [7, 8]], "question_end": 2}),
    ("multiple-choice", {"input_ids": [[5, 6], [7, 8]], "attention_mask": [[1, 1], [1, 0]], "question_ends": 1}),
    ("multiple-choice", {"input_ids": [[5, 6, 0]], "attention_mask": [[1, 1, 0]], "question_end": 1}),
    ("hotpot", {"input_ids": _IDS, "sentence_spans": [[0, 1], [-1, -1], [2, 2]]}),
    ("hotpot", {"input_ids": _IDS, "sentence_spans": []}),
    ("wikihop", {"input_ids": _IDS, "candidate_positions": [0, -1, 2]}),
    ("wikihop", {"input_ids": _IDS, "candidate_positions": []}),
    ("passages", {"query": "a", "body": "b"}),
    ("passages", {"query": "a", "title": "t", "body": "b"}),
    ("passages", ["a", "b"]),
    ("passages", {"input_ids": _IDS, "query_end": 3}),
    ("passages", {"input_ids": _IDS, "query_end": 1, "domain": 3, "box": [[1, 9], [0, 0]]}),
]

#: Task, item, and what both languages say of it.
_REFUSED: list[tuple[str, Any, str]] = [
    ("sequence-classification", {}, "has the keys (none)"),
    ("sequence-classification", {"text": None}, "has the keys (none)"),
    ("sequence-classification", {"text_pair": "b"}, "has the keys text_pair"),
    ("sequence-classification", {"text": 1}, "text must be text"),
    ("sequence-classification", {"text": ["a"]}, "text must be text"),
    ("sequence-classification", 7, "which task sequence-classification does not take"),
    ("sequence-classification", ["a", "b", "c"], "which task sequence-classification does not take"),
    ("sequence-classification", ["a", 1], "text_pair must be text"),
    ("sequence-classification", {"input_ids": []}, "the batch is empty"),
    ("sequence-classification", {"input_ids": 5}, "must be [rows, tokens]"),
    ("sequence-classification", {"input_ids": [[5, 6]]}, "must be [rows, tokens]"),
    ("sequence-classification", {"input_ids": [5, [6]]}, "not a rectangular array"),
    ("sequence-classification", {"input_ids": [5.5]}, "input_ids"),
    ("sequence-classification", {"input_ids": [5.0]}, "input_ids"),
    ("sequence-classification", {"input_ids": ["5"]}, "input_ids"),
    ("sequence-classification", {"input_ids": [18446744073709551615]}, "input_ids"),
    ("sequence-classification", {"input_ids": [5, -1]}, "input_ids[0, 1] is -1, but the vocabulary of this model ends"),
    ("sequence-classification", {"input_ids": [40]}, "[0, 0] is 40, but the vocabulary of this model ends at 39"),
    ("sequence-classification", {"input_ids": _IDS, "token_type_ids": [0, 0, 2]}, "types of this model ends at 1"),
    ("sequence-classification", {"input_ids": _IDS, "token_type_ids": [0]}, "token_type_ids is of shape [1, 1]"),
    ("sequence-classification", {"input_ids": _IDS, "attention_mask": [1, 1]}, "attention_mask is of shape [1, 2]"),
    ("sequence-classification", {"input_ids": _IDS, "attention_mask": [1, 2, 1]}, "must hold 0 and 1 only"),
    ("sequence-classification", {"input_ids": _IDS, "attention_mask": [0, 0, 0]}, "row 0 is all padding"),
    ("sequence-classification", {"input_ids": _IDS, "attention_mask": [1, 0, 1]}, "has a hole"),
    ("sequence-classification", {"input_ids": [0] * 13}, "row 0 has 13 tokens, the model takes 12"),
    ("sequence-classification", {"input_ids": _IDS, "context": "ab", "offsets": [None]}, "for each of the 3 tokens"),
    ("sequence-classification", {"input_ids": _IDS, "context": "ab", "offsets": {}}, "for each of the 3 tokens"),
    ("sequence-classification", {"input_ids": _IDS, "context": "ab", "offsets": [None, [0, 3], None]}, "offsets[1]"),
    ("sequence-classification", {"input_ids": _IDS, "context": "ab", "offsets": [[2, 1], None, None]}, "offsets[0]"),
    ("sequence-classification", {"input_ids": _IDS, "context": "ab", "offsets": [None, None, [-1, 1]]}, "offsets[2]"),
    ("sequence-classification", {"input_ids": _IDS, "context": "ab", "offsets": [None, None, [0]]}, "offsets[2]"),
    ("token-classification", {"text": "a", "text_pair": "b"}, "has the keys text, text_pair"),
    ("token-classification", ["a", "b"], "which task token-classification does not take"),
    ("question-answering", "who?", "which task question-answering does not take"),
    ("question-answering", {"question": "who?"}, "has the keys question"),
    ("multiple-choice", {"context": "a", "question": "b", "choices": []}, "choices must be a list of texts"),
    ("multiple-choice", {"context": "a", "question": "b", "choices": "c"}, "choices must be a list of texts"),
    ("multiple-choice", {"context": "a", "question": "b", "choices": ["c", 1]}, "a choice must be text"),
    ("multiple-choice", {"input_ids": [5, 6], "question_end": 1}, "must be [rows, options, tokens]"),
    ("multiple-choice", {"input_ids": [[5, 6]]}, "needs question_ends"),
    ("multiple-choice", {"input_ids": [[5, 6]], "question_end": 0}, "1 to the row's length; the row has 2 tokens"),
    ("multiple-choice", {"input_ids": [[5, 6]], "question_end": 3}, "1 to the row's length; the row has 2 tokens"),
    ("multiple-choice", {"input_ids": [[5, 6]], "question_end": [1]}, "question_ends must be [rows] with 1 rows"),
    ("multiple-choice", {"input_ids": [[5], [7]], "attention_mask": [[1], [0]], "question_end": 1}, "(option 1)"),
    ("hotpot", {"text": "a"}, "has the keys text"),
    ("hotpot", {"input_ids": _IDS}, "needs sentence_spans"),
    ("hotpot", {"input_ids": _IDS, "sentence_spans": [[0, 3]]}, "must be positions in the row (-1: absent)"),
    ("hotpot", {"input_ids": _IDS, "sentence_spans": [[-2, 0]]}, "must be positions in the row (-1: absent)"),
    ("hotpot", {"input_ids": _IDS, "sentence_spans": [[0, 1, 2]]}, "must be [rows, sentences, 2] with 1 rows"),
    ("hotpot", {"input_ids": _IDS, "sentence_spans": [0, 1]}, "must be [rows, sentences, 2] with 1 rows"),
    ("wikihop", {"input_ids": _IDS, "candidate_positions": [3]}, "must be positions in the row (-1: absent)"),
    ("passages", {"query": "a", "title": "t"}, "has the keys"),
    ("passages", {"input_ids": _IDS, "query_end": 1, "domain": 4}, "domain of row 0 must be from -1 to 3"),
    ("passages", {"input_ids": _IDS, "query_end": 1, "box": [[1, 10]]}, "boxes of row 0 must be from 0 to 9"),
    ("passages", {"input_ids": _IDS, "query_end": 1, "box": [1, 2]}, "must be [rows, shapes, 2] with 1 rows"),
]


def vectors() -> dict[str, Any]:
    """Items as JSON, with what they are understood as."""
    names = [case[0] for case in (*_ACCEPTED, *_REFUSED)]
    return {
        "what": "items: texts by part, or arrays without the batch's axis; refused: a part of what is said of an item "
        "that a task does not take",
        "tasks": as_json(names),
        "cases": [_accepted(*case) for case in _ACCEPTED] + [_refused(*case) for case in _REFUSED],
    }


def _accepted(task: str, item: Any) -> dict[str, Any]:
    read = read_item(all_tasks()[task], item, 0)
    return {"task": task, "item": item, **understood(read)}


def understood(item: Item) -> dict[str, Any]:
    """What is compared of an item."""
    if not item.arrays:
        return {"parts": {key: list(texts) for key, texts in item.parts.items()}}
    arrays = {"arrays": {name: array.tolist() for name, array in item.arrays.items()}}
    if item.offsets is None:
        return arrays
    return {**arrays, "context": item.context, "offsets": [entry and list(entry) for entry in item.offsets]}


def _refused(task: str, item: Any, says: str) -> dict[str, Any]:
    said = refusal(says, lambda: read_item(all_tasks()[task], item, 0))
    return {"task": task, "item": item, "refused": said}
