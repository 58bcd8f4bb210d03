"""Specifications of tasks that contradict themselves."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import TypeAdapter

from cases.tasks import as_json
from trbert_deploy.core import strict_json
from trbert_deploy.core.spec_checks import check_task
from trbert_deploy.core.specs import TaskSpec

_FAR = 2**40

#: Task, place in it, the value that stands there instead (... for none). Behind the last member of a list, "-".
_REFUSED: list[tuple[str, str, Any]] = [
    ("passages", "/max_length", 0),
    ("passages", "/max_length", _FAR),
    ("passages", "/max_length", 12.0),
    ("passages", "/max_length", True),
    ("passages", "/inputs/0/name", "ids"),
    ("passages", "/inputs/1/name", "token_type_ids"),
    ("passages", "/inputs/3/name", "domain"),  # twice
    ("passages", "/inputs/0/axes", ["length", "batch"]),
    ("passages", "/inputs/0/axes", ["batch", "length", "more"]),
    ("passages", "/inputs/1/axes", ["batch", "tokens"]),
    ("passages", "/inputs/2/axes", ["batch"]),
    ("passages", "/inputs/2/maximum", None),
    ("passages", "/inputs/2/maximum", -1),
    ("passages", "/inputs/2/default", None),
    ("passages", "/inputs/2/default", 2),
    ("passages", "/inputs/0/maximum", 2**63),
    ("passages", "/inputs/3/axes", []),
    ("passages", "/inputs/3/axes", ["rows"]),
    ("passages", "/inputs/3/axes", ["batch", 1]),  # not a number for each row
    ("passages", "/inputs/5/axes", ["batch", "length"]),
    ("passages", "/inputs/5/axes", ["batch", 2, "shapes"]),
    ("passages", "/inputs/5/axes", ["batch", 0]),
    ("passages", "/inputs/5/axes", ["batch", 1.5]),
    ("passages", "/inputs/5/axes", ["batch", _FAR]),
    ("passages", "/inputs/5/default", 10),
    ("passages", "/inputs/5/minimum", -_FAR),
    ("passages", "/inputs/3/maximum_from_length", _FAR),
    ("passages", "/inputs/5/key", None),
    ("passages", "/outputs", []),
    ("passages", "/outputs/0/axes", []),
    ("passages", "/outputs/0/axes", ["labels"]),
    ("passages", "/outputs/0/axes", ["batch", 0]),
    ("passages", "/outputs/0/axes", ["batch", "labels", "length"]),
    ("passages", "/outputs/0/padding", 1e300),
    ("passages", "/outputs/0/padding", None),
    ("multiple-choice", "/outputs/0/axes", ["batch", "length"]),
    ("passages", "/protected_from", "nothing"),
    ("passages", "/protected_from", "boxes"),
    ("passages", "/protected_from", "input_ids"),
    ("passages", "/sequences_axis", "shapes"),
    ("multiple-choice", "/sequences_axis", None),
    ("multiple-choice", "/sequences_axis", "length"),
    ("passages", "/text", ...),
    ("passages", "/text/forms", []),
    ("passages", "/text/forms/-", []),
    ("passages", "/text/forms/-", ["query", "query", "body"]),
    ("passages", "/text/forms/-", ["query", "body", "<sep>"]),
    ("passages", "/text/forms/-", ["query", "body", "input_ids"]),
    ("passages", "/text/forms/-", ["query", "body", "note"]),
    ("passages", "/text/segments", []),
    ("passages", "/text/segments/-", {"token_type": 0, "tokens": ["query"]}),
    ("passages", "/text/segments/2/tokens", ["<sep>"]),
    ("passages", "/text/segments/2/token_type", -1),
    ("passages", "/text/segments/2/token_type", _FAR),
    ("passages", "/text/truncation", "shortest_first"),
    ("passages", "/text/truncation", "longest_first"),  # of three parts
    ("passages", "/text/cut", None),
    ("passages", "/text/cut", "title"),  # which an item may lack
    ("passages", "/text/offsets", "nothing"),
    ("passages", "/text/each", "body"),
    ("multiple-choice", "/text/offsets", "choices"),
    ("passages", "/text/ends", {}),  # nothing says query_end
    ("passages", "/text/ends/boxes", "query"),
    ("passages", "/text/ends/query_end", "title"),
    ("passages", "/decoding/parameters", 3),
    ("passages", "/decoding/parameters/output", ...),
    ("passages", "/decoding/parameters/output", "nothing"),
    ("passages", "/decoding/parameters/output", ["logits"]),
    ("passages", "/decoding/parameters/activation", "tanh"),
    ("several-labels", "/decoding/parameters/threshold", ...),
    ("several-labels", "/decoding/parameters/threshold", "half"),
    ("several-labels", "/decoding/parameters/threshold", 1.5),
    ("several-labels", "/decoding/parameters/threshold", True),
    ("multiple-choice", "/decoding/parameters/output", None),
    ("question-answering", "/decoding/parameters/start", "input_ids"),
    ("question-answering", "/decoding/parameters/max_tokens", 0),
    ("question-answering", "/decoding/parameters/max_tokens", 2**31),
    ("question-answering", "/decoding/parameters/max_tokens", 3.0),
    ("hotpot", "/decoding/parameters/types", []),
    ("hotpot", "/decoding/parameters/types", ["span", "yes"]),
    ("hotpot", "/decoding/parameters/types", ["span", "yes", 3]),
    ("hotpot", "/decoding/parameters/type", "sent_logits"),
    ("hotpot", "/decoding/parameters/evidence", "switch_logits"),
    ("hotpot", "/decoding/parameters/evidence_spans", "input_ids"),
    ("wikihop", "/decoding/parameters/positions", "token_type_ids"),
    ("wikihop", "/decoding/parameters/positions", ...),
    ("token-classification", "/decoding/parameters/output", "input_ids"),
]

#: Those that may be.
_ACCEPTED: list[tuple[str, str, Any]] = [
    ("passages", "/decoding", {"kind": "of tomorrow", "parameters": {"anything": [1]}}),
    ("passages", "/decoding/parameters/threshold", 2),  # nobody reads it
    ("passages", "/inputs/5/default", 9),
    ("passages", "/inputs/5/maximum", None),
    ("passages", "/inputs/5/key", ""),
    ("passages", "/outputs/0/padding", -1),
    ("passages", "/text", None),
    ("several-labels", "/decoding/parameters/threshold", 1),
    ("question-answering", "/decoding/parameters/max_tokens", 2**31 - 1),
]


def vectors() -> dict[str, Any]:
    """Edited tasks: JSON Patches (RFC 6902) of one operation."""
    names = [name for name, _, _ in (*_REFUSED, *_ACCEPTED)]
    tasks = strict_json.loads(strict_json.dumps(as_json(names)))
    cases = []
    for wanted, edits in ((True, _ACCEPTED), (False, _REFUSED)):
        for name, path, value in edits:
            operation: dict[str, Any] = {"op": "remove", "path": path}
            if value is not ...:
                operation = {"op": "add", "path": path, "value": value}
            if accepted(patched(tasks[name], operation)) is not wanted:
                raise ValueError(f"{name}: {operation} is {'refused' if wanted else 'accepted'}")
            cases.append({"task": name, "patch": [operation], "accepted": wanted})
    return {"what": "tasks, each with a change after which it can be read or not", "tasks": tasks, "cases": cases}


def patched(task: Any, operation: dict[str, Any]) -> Any:
    """A changed copy of a task."""
    *folders, last = operation["path"].removeprefix("/").split("/")
    whole = place = copy.deepcopy(task)
    for name in folders:
        place = place[int(name) if isinstance(place, list) else name]
    if operation["op"] == "remove":
        del place[last]
    elif last == "-":
        place.append(operation["value"])
    else:
        place[int(last) if isinstance(place, list) else last] = operation["value"]
    return whole


def accepted(task: Any) -> bool:
    """Whether a manifest may hold that task."""
    try:
        check_task(TypeAdapter(TaskSpec).validate_json(strict_json.dumps(task), strict=True))
    except ValueError:
        return False
    return True
