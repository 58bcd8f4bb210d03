"""Output arrays to predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from cases.refusals import refusal
from cases.tasks import all_tasks, as_json
from trbert_deploy.text.decoding import decode
from trbert_deploy.text.rows import Row

_LABELS = ["no", "maybe", "yes"]
_SPAN_TEXT = {"text": "añb 日c", "offsets": [None, None, [0, 2], [2, 3], [4, 6], None]}
_OUTSIDE = -10000.0


def _row(length: int, **facts: Any) -> dict[str, Any]:
    arrays = {"input_ids": [5] * length, **facts.pop("arrays", {})}
    return {"arrays": arrays, "length": length, "text": None, "offsets": None, "choices": [], **facts}


def _ends(start: list[float], end: list[float]) -> dict[str, Any]:
    return {"start_logits": start, "end_logits": end}


def _flat(size: int, **peaks: tuple[int, float]) -> list[float]:
    return [next((value for place, value in peaks.values() if place == index), 0.0) for index in range(size)]


def _hotpot(kind: list[float], sentences: list[list[float]]) -> dict[str, Any]:
    start, end = [0.0, 1.0, 4.0, 0.0, 0.0], [0.0, 0.0, 1.0, 3.0, 0.0]
    return {**_ends(start, end), "switch_logits": kind, "sent_logits": sentences}


_SENTENCES = {"sentence_spans": [[0, 1], [2, 3], [-1, -1]]}

#: Task, labels, row, and its outputs, which are as wide as the batch where they are over tokens.
_CASES: list[tuple[str, list[str], dict[str, Any], dict[str, Any]]] = [
    ("sequence-classification", _LABELS, _row(3), {"logits": [0.5, 2.0, -1.0]}),
    ("sequence-classification", _LABELS, _row(3), {"logits": [1.0, 2.0, 2.0]}),  # of equals the first
    ("sequence-classification", ["zero"], _row(3), {"logits": [0.0, 2.0, 2.0]}),  # unnamed labels are numbers
    ("sequence-classification", [], _row(3), {"logits": [700.0, -700.0]}),
    ("sequence-classification", ["one"], _row(3), {"logits": [-3.0]}),
    ("numbers", [], _row(3), {"logits": [-3.25]}),
    ("numbers", _LABELS, _row(3), {"logits": [0.25, -1.5, 3.0]}),
    ("several-labels", _LABELS, _row(3), {"logits": [0.0, 3.0, -2.0]}),  # at the threshold is over it
    ("several-labels", _LABELS, _row(3), {"logits": [-1.0, -0.001, -900.0]}),
    ("several-labels", ["only"], _row(3), {"logits": [5.0, 800.0]}),
    ("multiple-choice", [], _row(3, choices=["a", "b"]), {"logits": [1.0, 3.0]}),
    ("multiple-choice", [], _row(3), {"logits": [2.0, 2.0, -1.0]}),
    ("multiple-choice", [], _row(3, choices=["a"]), {"logits": [-4.0]}),
    ("question-answering", [], _row(6, **_SPAN_TEXT), _ends([9, 9, 1, 5, 0, 9], [9, 9, 0, 1, 6, 9])),
    ("question-answering", [], _row(6, **_SPAN_TEXT), _ends([0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 1, 0])),  # all equal
    ("question-answering", [], _row(5), _ends([9, 0, 1, 1, 9], [9, 0, 0, 3, 9])),  # without [CLS] and [SEP]
    (
        "question-answering",
        [],
        _row(6, arrays={"token_type_ids": [0, 0, 1, 1, 1, 1]}),
        _ends([0, 9, 1, 0, 0, 0], [0, 9, 0, 2, 0, 9]),
    ),
    # spans may not hold what is no part of an answer, and end before they start
    (
        "question-answering",
        [],
        _row(5, text="abc", offsets=[None, [0, 1], None, [1, 2], [2, 3]]),
        _ends([0, 9, 0, 1, 8], [0, 1, 0, 9, 0]),
    ),
    # wider than the row: what stands behind it is not looked at
    ("question-answering", [], _row(3), _ends([0, 1, 0, _OUTSIDE, 50], [0, 1, 0, 50, _OUTSIDE])),
    ("question-answering", [], _row(2), _ends([1, 1], [1, 1])),  # no token is left
    ("question-answering", [], _row(1), _ends([1], [1])),
    ("question-answering", [], _row(3, text="", offsets=[None, None, None]), _ends([0, 0, 0], [0, 0, 0])),
    # 31 tokens are one too many
    ("question-answering", [], _row(60), _ends(_flat(60, a=(10, 5.0)), _flat(60, a=(40, 5.0), b=(39, 4.0)))),
    ("hotpot", [], _row(5, arrays=_SENTENCES), _hotpot([2, 1, 0], [[0, 1], [1, 0], [0, 9]])),
    ("hotpot", [], _row(5, arrays=_SENTENCES), _hotpot([0, 2, 2], [[1, 1], [0, 0.5], [0, 9]])),
    ("hotpot", [], _row(5, arrays=_SENTENCES), _hotpot([0, 1, 2], [[0, 1], [0, 1], [0, 1], [0, 1]])),
    ("hotpot", [], _row(5, arrays={"sentence_spans": [[-1, -1]]}), _hotpot([1, 1, 1], [[0, 1]])),
    ("wikihop", [], _row(5, arrays={"candidate_positions": [3, -1, 0]}), {"candidate_logits": [1.0, 90.0, 2.0]}),
    ("wikihop", [], _row(5, arrays={"candidate_positions": [1, 1]}), {"candidate_logits": [2.0, 2.0, 70.0]}),
    ("wikihop", [], _row(5, arrays={"candidate_positions": [-1, -1]}), {"candidate_logits": [_OUTSIDE, _OUTSIDE]}),
    (
        "token-classification",
        _LABELS,
        _row(4, text="a日b", offsets=[None, [0, 1], [1, 3], None]),
        {"logits": [[9, 0, 0], [0, 0, 2], [1, 1, 0], [9, 0, 0], [0, 7, 0]]},
    ),
    ("token-classification", [], _row(2), {"logits": [[1, 0], [0, 3]]}),
    ("token-classification", _LABELS, _row(2, text="", offsets=[None, None]), {"logits": [[1, 0], [0, 3]]}),
]


def vectors() -> dict[str, Any]:
    """Predictions, their numbers rounded to ten decimals: machines differ in the last digits of an exponential."""
    names = [case[0] for case in _CASES]
    return {
        "what": "predictions of single rows, numbers within 1e-9; refused: a part of what is said of a kind that "
        "nobody decodes",
        "tasks": as_json([*names, "poetry"]),
        "cases": [*(_case(*case) for case in _CASES), _refused("poetry", _row(2), {"logits": [1.0, 2.0]})],
    }


def row_of(facts: dict[str, Any]) -> Row:
    """A row from its JSON."""
    arrays = {name: np.array(array, dtype=np.int64) for name, array in facts["arrays"].items()}
    offsets = facts["offsets"] and [entry and tuple(entry) for entry in facts["offsets"]]
    return Row(arrays, facts["length"], text=facts["text"], offsets=offsets, choices=tuple(facts["choices"]))


def arrays_of(outputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs from their JSON."""
    return {name: np.array(array, dtype=np.float32) for name, array in outputs.items()}


def _case(task: str, labels: list[str], row: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    prediction = decode(all_tasks()[task], labels, row_of(row), arrays_of(outputs))
    return {"task": task, "labels": labels, "row": row, "outputs": outputs, "prediction": _rounded(prediction)}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(value, 10) + 0.0 if isinstance(value, float) else value


def _refused(task: str, row: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    says = "this release does not decode outputs of the kind 'poetry'"
    said = refusal(says, lambda: decode(all_tasks()[task], [], row_of(row), arrays_of(outputs)))
    return {"task": task, "labels": [], "row": row, "outputs": outputs, "refused": said}
