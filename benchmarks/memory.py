"""What requests leave behind, and what it costs to leave nothing: ways to handle memory, in turns on the same requests.

    trbert-deploy export trbert-minilm-imdb --out bundle
    python benchmarks/memory.py bundle --markdown memory.md

Each way has a process of its own: random requests of 1 to 32 rows, 4 to 512 tokens long, then one of 32 x 512, then
some ordinary ones again. Times are ratios to the first way's on the same requests, medians of rounds, for an idle
machine; memory is what is resident.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from workers import Worker

import trbert_deploy
from trbert_deploy.bundle.folder import whole_file
from trbert_deploy.core.markdown import markdown_table

WAYS: dict[str, dict[str, Any]] = {
    "arena, 16384 tokens a group": {"memory": "arena", "group_tokens": 16384},
    "arena, 4096": {"memory": "arena", "group_tokens": 4096},
    "shrink, 16384": {"memory": "shrink", "group_tokens": 16384},
    "lean, 16384": {"memory": "lean", "group_tokens": 16384},
    "lean, 4096 (the default)": {"memory": "lean", "group_tokens": 4096},
    "lean, 2048": {"memory": "lean", "group_tokens": 2048},
}
REQUESTS = 25
ROWS = (1, 1, 1, 1, 2, 4, 8, 16, 32)
LARGE = [{"input_ids": np.full((32, 512), 2000)}]


def requests(seed: int) -> list[dict[str, np.ndarray]]:
    """Random ones."""
    chance, made = random.Random(seed), []
    for _ in range(REQUESTS):
        lengths = [min(512, max(4, int(chance.lognormvariate(4.6, 0.8)))) for _ in range(chance.choice(ROWS))]
        mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
        made.append({"input_ids": np.where(mask, 2000, 0), "attention_mask": mask.astype(np.int64)})
    return made


def status() -> dict[str, float]:
    """Resident memory and its high-water mark, MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return {line[:5]: int(line.split()[1]) / 1024 for line in lines if line.startswith(("VmRSS", "VmHWM"))}


def serve(bundle: str, options: Mapping[str, Any]) -> None:
    """In a process of its own: a seed in, or "large"; seconds and memory out."""
    with trbert_deploy.load(bundle, threads=2, **options) as engine:
        for line in sys.stdin:
            wanted = json.loads(line)
            given = LARGE if wanted == "large" else requests(wanted)
            start = time.perf_counter()
            for request in given:
                engine.run(**request)
            print(json.dumps({"seconds": time.perf_counter() - start, **status()}), flush=True)


def measure(bundle: str, rounds: int) -> list[list[str]]:
    """A row of the table for each way."""
    ways = {
        name: Worker([sys.executable, __file__, bundle, "--serve", json.dumps(options)])
        for name, options in WAYS.items()
    }
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            answers[name].append(ways[name].ask(number))
    first, rows = answers[next(iter(ways))], []
    first_large = None
    for name, way in ways.items():
        own = answers[name]
        ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in zip(first, own, strict=True))
        with way:
            large = [way.ask("large") for _ in range(3)]
            later = way.ask(rounds)
        seconds = min(answer["seconds"] for answer in large)
        first_large = first_large or seconds
        memory = (own[-1]["VmRSS"], own[-1]["VmHWM"], large[0]["VmHWM"], later["VmRSS"])
        rows.append([name, f"{ratio:.2f}", f"{first_large / seconds:.2f}", *(f"{mib:.0f}" for mib in memory)])
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.bundle, json.loads(arguments.serve))
        return
    header = ["memory", "speed, x", "of 32 x 512, x", "held, MiB", "at most", "at most, with 32 x 512", "held later"]
    table = markdown_table(header, measure(arguments.bundle, arguments.rounds))
    print(table)
    if arguments.markdown:
        with whole_file(arguments.markdown) as partial:
            partial.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
