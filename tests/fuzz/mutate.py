"""Changes to JSON texts that a fuzzer of bytes would take ages to find: values left out, moved, and nasty ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

#: Stands in a document for what `json` would not write; see `RAW`.
_MARK = "\x02"
#: Written as they are.
RAW = (
    "NaN",
    "-Infinity",
    "1e999",
    "9" * 400,
    "18446744073709551616",
    '{"a":1,"a":2}',
    '"\\ud83d"',
    "[" * 70 + "]" * 70,
)
NASTY = (
    None, True, False, 0, -1, 1, 2, 63, 2**31, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), 0.5, -3.0, 1e-9, 1e300, -0.0,
    "", " ", "\x00", "²", "../x", "/", "a\\b", "é" * 300, "input_ids", "length", "batch", "next_", "keep_count",
    "<sep>", [], {}, [[]], [None], {"": None}, [0, 1], ["batch", "length"], *(_MARK + raw for raw in RAW),
)  # fmt: skip

Place = tuple[Any, Any]  # a list or dict, and an index or key


def mutate(text: str, rng: random.Random) -> str:
    """A JSON text with one change or a few.

    Raises:
        ValueError: it is not JSON.
    """
    value = json.loads(text)
    for _ in range(1 + min(5, int(rng.expovariate(0.7)))):
        value = _changed(value, rng)
    written = json.dumps(value)
    for raw in RAW:
        written = written.replace(json.dumps(_MARK + raw), raw)
    return written


def _changed(value: Any, rng: random.Random) -> Any:
    places = list(_places(value))
    if not places or rng.random() < 0.01:
        return rng.choice(NASTY)
    parent, key = rng.choice(places)
    match rng.randrange(8):
        case 0 | 1 | 2:
            parent[key] = rng.choice(NASTY)
        case 3:
            del parent[key]
        case 4:  # what stands elsewhere
            other, place = rng.choice(places)
            parent[key] = json.loads(json.dumps(other[place]))
        case 5:
            parent[key] = [parent[key]] * rng.choice((1, 2, 9))
        case 6 if isinstance(parent, dict):
            parent[rng.choice((key + "s", key[:-1], key.upper(), "\ud83d"))] = parent.pop(key)
        case 7 if isinstance(parent[key], int | float) and abs(parent[key]) < 1e300:
            parent[key] = parent[key] + rng.choice((-1, 1, 0.5, 2**40))
        case _:
            parent[key] = str(parent[key])
    return value


def _places(value: Any) -> Iterator[Place]:
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])
