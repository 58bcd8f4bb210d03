"""JSON as RFC 8259 has it, and no more: what is read here can be written again and means the same to every reader.

Python's own `json` takes NaN and infinities, reads 1e999 as one, builds integers of any length, keeps the last of two
equal keys without a word, and ends in a RecursionError where a text is nested deeply. None of that is let through.
"""

from __future__ import annotations

import errno
import json
import math
import re
import stat
from pathlib import Path
from typing import Any

from trbert_deploy.core.errors import shortened

#: Arrays and objects inside one another; the C++ library has the same limit.
MAX_DEPTH = 64

_LARGEST, _SMALLEST = 2**64 - 1, -(2**63)  # what 64 bits hold, with a sign or without
_DIGITS = 20  # of the largest
# A string, whose brackets do not count, even one that does not end; or a bracket.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def loads(text: str | bytes) -> Any:
    """Read a JSON text.

    Args:
        text: of one value; bytes are UTF-8.

    Returns:
        Made of dict, list, str, int, float, bool and None. Numbers are finite, integers of 64 bits, strings such as
        UTF-8 can encode.

    Raises:
        ValueError: it is not JSON, or beyond these limits; the message says where or what. A UnicodeDecodeError where
            bytes are not UTF-8.
    """
    decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    _check_depth(decoded)
    value = json.loads(
        decoded, object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_refuse_constant
    )
    if "\\ud" in decoded.lower():  # an escaped surrogate: half of a pair could not be written again
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("a string holds half of a surrogate pair") from error
    return value


def read(path: Path, *, most_bytes: int) -> Any:
    """Read a JSON file.

    Args:
        path: of a UTF-8 file.
        most_bytes: larger ones are refused before they are read.

    Raises:
        OSError: it cannot be read, is too large or no regular file.
        ValueError: see `loads`.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):  # to open a pipe would wait for its other end
        raise OSError(errno.EINVAL, "it is not a regular file")
    if facts.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"it has {facts.st_size} bytes, more than the {most_bytes} that are read")
    with path.open("rb") as file:
        return loads(file.read(most_bytes))


def dumps(value: Any, *, indent: int | None = None, separators: tuple[str, str] | None = None) -> str:
    """Write a value as JSON, in UTF-8's characters.

    Raises:
        ValueError: a number in it is not finite, or it holds itself.
        TypeError: JSON has nothing for a part of it.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        if found[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} deep at character {found.start()}")
        elif found[0] in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        left = set(found)
        for name, _ in pairs:
            if name not in left:
                raise ValueError(f"the key {shortened(name)!r} is there twice in one object")
            left.remove(name)
    return found


def _integer(digits: str) -> int:
    if len(digits.removeprefix("-")) <= _DIGITS and _SMALLEST <= (value := int(digits)) <= _LARGEST:
        return value
    raise ValueError(f"the integer {shortened(digits)} has more than 64 bits")


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {shortened(digits)} is larger than a float64 can be")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
