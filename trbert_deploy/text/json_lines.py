"""JSON lines in: one object a line, streamed, every mistake named by file and line."""

from __future__ import annotations

import gzip
import json
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, cast

from trbert_deploy.core import strict_json
from trbert_deploy.core.errors import InputError

_FORM = 'one JSON object a line, e.g. {"text": "..."}'
_UTF8_BOM = b"\xef\xbb\xbf"  # Windows editors write it


class Line(dict[str, Any]):
    """The object on one line, which knows where it stood.

    Attributes:
        source: file and 1-based line number, for messages.
    """

    def __init__(self, values: dict[str, Any], source: str) -> None:
        super().__init__(values)
        self.source = source


def read_json_lines(path: Path | str) -> Iterator[Line]:
    """Read a JSON-lines file, one line in memory at a time.

    Args:
        path: a UTF-8 file, compressed where it ends in .xz or .gz; ``"-"`` is the standard input.

    Returns:
        The objects in order; blank lines are skipped. The file is opened at the first of them.

    Raises:
        InputError: at once, the file does not exist, or is CSV or parquet; later, it cannot be read, or a line is not
            UTF-8, not JSON or not an object. The message names file and line; the lines before it have been given out.
    """
    if str(path) == "-":
        return _read(None)
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder", "name a JSON-lines file in it")
    if not path.exists():
        raise InputError(f"{path} does not exist", f"name a JSON-lines file: {_FORM}")
    if path.suffix in (".csv", ".parquet"):
        raise InputError(f"{path} is a table, which `train` alone takes", f"write {_FORM}")
    return _read(path)


def _read(path: Path | None) -> Iterator[Line]:
    name, number = str(path or "standard input"), 0
    try:
        with nullcontext(sys.stdin.buffer) if path is None else _open(path) as lines:
            for raw in lines:
                number += 1
                line = raw.removeprefix(_UTF8_BOM) if number == 1 else raw
                if line.strip():
                    source = f"{name}, line {number}"
                    yield Line(_parse(line, source), source)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{name} cannot be read beyond line {number}: {error}") from error


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".xz":
        return lzma.open(path)
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path))
    return path.open("rb")


def _parse(raw: bytes, source: str) -> dict[str, Any]:
    try:
        value = strict_json.loads(raw)
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not valid UTF-8 (byte {error.start + 1})", "save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{source} is not valid JSON: {error.msg} (column {error.colno})", f"write {_FORM}") from error
    except ValueError as error:  # NaN, a number of thousands of digits, endless nesting, half of a surrogate pair
        raise InputError(f"{source} is not JSON that can be read: {error}", f"write {_FORM}") from error
    if not isinstance(value, dict):
        raise InputError(f"{source} is a JSON {type(value).__name__}, not an object", f"write {_FORM}")
    return value
