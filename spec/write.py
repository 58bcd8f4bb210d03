"""Write the conformance vectors: what the Python package and the C++ library both have to compute.

    python spec/write.py            write every file beside this one
    python spec/write.py --check    exit with 1 where one is not what would be written

Expected values follow from an independent statement where there is one (exact fractions, a sort), else from the Python
implementation. tests/spec and runtimes/cpp/tests hold the two to the files.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cases import (
    budget,
    decoding,
    encoding,
    grouping,
    items,
    json_texts,
    selection,
    shape_buckets,
    specs,
    tokenizer,
)

FOLDER = Path(__file__).parent
MAKERS = {
    "json_texts.json": json_texts.vectors,
    "specs.json": specs.vectors,
    "grouping.json": grouping.vectors,
    "budget.json": budget.vectors,
    "shape_buckets.json": shape_buckets.vectors,
    "selection.json": selection.vectors,
    "items.json": items.vectors,
    "encoding.json": encoding.vectors,
    "decoding.json": decoding.vectors,
}


def text_of(vectors: dict[str, Any]) -> str:
    """JSON with an entry of a list, or of an object of objects, a line: a change shows as the lines of its cases."""
    parts = [f"{json.dumps(name)}: {_lines(value)}" for name, value in vectors.items()]
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def _lines(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        return "[\n  " + ",\n  ".join(_json(entry) for entry in value) + "\n ]"
    if isinstance(value, dict):
        return "{\n  " + ",\n  ".join(f"{json.dumps(key)}: {_json(entry)}" for key, entry in value.items()) + "\n }"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    """Read the arguments; write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    wanted = {name: text_of(make()) for name, make in MAKERS.items()} | {"tokenizer.json": tokenizer.text()}
    differing = []
    for name, text in wanted.items():
        path = FOLDER / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        differing.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
    if check and differing:
        sys.exit(f"error: {', '.join(differing)} would be written otherwise\nhint: python spec/write.py")
    print(f"{len(wanted)} files, {len(differing)} {'differ' if check else 'written anew'}")


if __name__ == "__main__":
    main()
