"""Texts that are JSON, or nearly."""

from __future__ import annotations

from typing import Any

from trbert_deploy.core import strict_json

_TEXTS = [
    "null",
    " [1, 2.5, -0, 1e308, true]\r\n",
    '{"a": {"a": 1}, "b": {"a": 2}}',
    '"\\ud83d\\ude00 \u65e5\u672c \\u0000"',
    str(2**64 - 1),
    str(-(2**63)),
    "[" * 64 + "]" * 64,
    '{"a":' * 64 + "1" + "}" * 64,
    '["' + "[" * 100 + '"]',
]
_NEARLY = [
    "",
    "{",
    "[1, 2",
    "[1,]",
    "01",
    "+1",
    ".5",
    "1.",
    "{} {}",
    "{'a': 1}",
    "{1: 2}",
    "nul",
    "NaN",
    "[Infinity]",
    "[1e999]",
    "-1e999",
    str(2**64),
    str(-(2**63) - 1),
    "9" * 400,
    '{"a": 1, "b": 2, "a": 1}',
    '{"b": [{"a": null, "a": null}]}',
    '"\\ud83d"',
    '{"\\uDC00": 1}',
    '"\t"',
    '"\\x41"',
    "\ufeff{}",
    "1\x00",
    "1 // a number",
    "[" * 65 + "]" * 65,
    '{"a":' * 65 + "1" + "}" * 65,
    "[" * 10_000,
]


def vectors() -> dict[str, Any]:
    """Each is what it is held for."""
    for text in _TEXTS:
        strict_json.loads(text)
    for text in _NEARLY:
        try:
            strict_json.loads(text)
        except ValueError:
            continue
        raise ValueError(f"not refused: {text}")
    return {"what": "texts that are read as JSON, and texts that are not", "read": _TEXTS, "refused": _NEARLY}
