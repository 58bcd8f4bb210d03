"""libFuzzer on Python: ``python fuzz.py TARGET CORPUS [libFuzzer's options]``; `test_fuzz.py` runs it.

It ends at the first exception that is not an error of ours, and leaves the input that did it.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trbert_deploy"]):
    from targets import TARGETS
from mutate import mutate


def mutator(name: str, data: bytes, most: int, seed: int) -> bytes:
    """Change the JSON that is in the data, or its bytes."""
    rng = random.Random(seed)
    if rng.random() < 0.25:
        return bytes(atheris.Mutate(data, most))
    start = 1 if name == "item" else 0  # before it: which task
    lines = data[start:].split(b"\n") if name == "json_lines" else [data[start:]]
    place = rng.randrange(len(lines))
    try:
        lines[place] = mutate(lines[place].decode(), rng).encode()
    except (ValueError, RecursionError):
        return bytes(atheris.Mutate(data, most))
    task = bytes([rng.randrange(256)]) if start and rng.random() < 0.1 else data[:start]
    return (task + b"\n".join(lines))[:most]


def main() -> None:
    """See the top of this file."""
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name](Path(folder))

        def run(data: bytes) -> None:
            target(data)

        atheris.Setup(sys.argv, run, custom_mutator=lambda data, most, seed: mutator(name, data, most, seed))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
