"""Two versions of the package beside each other: the same answers to the bit, as fast, as quick to export?

    git worktree add /tmp/before v0.1.0 && (cd /tmp/before && bash examples/install.sh export,cpu)
    python benchmarks/versions.py /tmp/before/.venv/bin/python .venv/bin/python --markdown versions.md

Each version exports the shipped model itself, in each precision, and answers in a process of its own; the two take
turns at rounds of the same batches, the order changing from round to round. For an idle machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from workers import Worker

from trbert_deploy.bench.stats import SpeedUp, speed_up
from trbert_deploy.bundle.folder import whole_file
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.core.markdown import markdown_table

PRECISIONS = ("fp32", "fp16", "int8")
MODES = ("staged", "fused", "dense")
BATCH_SIZES = (1, 32)

#: Runs under either version, so it uses what both have: answers to a file, or the seconds of a round.
WORKER = """
import json, sys, time
import numpy as np
import trbert_deploy
from tokenizers import Tokenizer

bundle, data, rows, mode = sys.argv[1:]
tokenizer = Tokenizer.from_file(bundle + "/tokenizer/tokenizer.json")
tokenizer.enable_truncation(512)
tokenizer.no_padding()
texts = [json.loads(line)["text"] for line in open(data, encoding="utf-8")][: int(rows)]
ids = [np.array(encoded.ids)[None] for encoded in tokenizer.encode_batch(texts)]

def batches(size):
    for start in range(0, len(ids), size):
        some = ids[start : start + size]
        widest = max(row.size for row in some)
        padded = np.concatenate([np.pad(row, [(0, 0), (0, widest - row.size)]) for row in some])
        mask = np.concatenate([np.pad(np.ones_like(row), [(0, 0), (0, widest - row.size)]) for row in some])
        yield {"input_ids": padded, "attention_mask": mask}

with trbert_deploy.load(bundle, mode=mode, threads=2) as engine:
    for line in sys.stdin:
        what, value = json.loads(line)
        start = time.perf_counter()
        if what == "answer":
            outs = [engine.run(**batch, return_selection=True) for size in (1, 32) for batch in batches(size)]
            logits = np.concatenate([out["logits"] for out in outs])
            kept = [positions for out in outs for step in out.selection or [] for positions in step]
            np.savez(value, logits=logits, kept=np.concatenate(kept or [np.zeros(0)]))
        else:
            for batch in batches(value):
                engine.run(**batch)
        print(json.dumps(time.perf_counter() - start), flush=True)
"""


@dataclass(frozen=True)
class Result:
    """One precision, in one mode: whether all outputs and kept sets are the same bits, and before over after."""

    precision: str
    mode: str
    same: bool
    speed_ups: dict[int, SpeedUp]


def export(python: str, precision: str, out: Path) -> float:
    """Seconds."""
    start = time.perf_counter()
    words = ["export", "trbert-minilm-imdb", "--out", out, "--precision", precision, "--with-dense", "--no-reference"]
    subprocess.run([python, "-m", "trbert_deploy", *map(str, words)], check=True, capture_output=True)
    return time.perf_counter() - start


def compare(pythons: Sequence[str], folder: Path, precision: str, mode: str, rows: int, rounds: int) -> Result:
    """Answers once, times in turns."""
    bundles = [folder / f"{precision}-{number}" for number in range(2)]
    data = evaluation_file()
    before, after = (
        Worker([python, "-c", WORKER, str(bundle), str(data), str(rows), mode])
        for python, bundle in zip(pythons, bundles, strict=True)
    )
    with before, after:
        answers = []
        for number, worker in enumerate((before, after)):
            file = folder / f"{number}.npz"
            worker.ask(["answer", str(file)])
            with np.load(file) as arrays:
                answers.append([arrays[name] for name in ("logits", "kept")])
        same = all(np.array_equal(one, other) for one, other in zip(*answers, strict=True))
        speed_ups = {}
        for size in BATCH_SIZES:
            samples: dict[Worker, list[float]] = {before: [], after: []}
            for number in range(rounds):
                for worker in (before, after)[:: 1 if number % 2 else -1]:
                    samples[worker].append(1000 * worker.ask(["time", size]))
            if rounds:
                speed_ups[size] = speed_up("before", samples[before], samples[after])
    return Result(precision, mode, same, speed_ups)


def report(results: Sequence[Result], exports: dict[str, SpeedUp]) -> str:
    """As Markdown: ratios above 1 say that the second version is quicker."""
    header = ["precision", "mode", "same bits", *(f"batch {size}, before / after" for size in BATCH_SIZES), "export"]
    rows = []
    for result in results:
        cells = [_ratio(result.speed_ups.get(size)) for size in BATCH_SIZES]
        shown = _ratio(exports.pop(result.precision, None))  # once
        rows.append([result.precision, result.mode, "yes" if result.same else "NO", *cells, shown])
    return markdown_table(header, rows)


def _ratio(ratio: SpeedUp | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio.of_rounds:.2f} ({ratio.of_rounds_low:.2f} to {ratio.of_rounds_high:.2f})"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs=2, metavar="PYTHON", help="before, after")
    parser.add_argument("--rows", type=int, default=64, help="reviews of the evaluation file")
    parser.add_argument("--rounds", type=int, default=9, help="0: answers alone are compared")
    parser.add_argument("--exports", type=int, default=3, help="of each version in each precision")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--modes", nargs="+", default=MODES)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    results, exports = [], {}
    with tempfile.TemporaryDirectory() as place:
        for precision in arguments.precisions:
            samples: list[list[float]] = [[], []]
            for turn in range(arguments.exports):
                for number in (0, 1) if turn % 2 else (1, 0):
                    out = Path(place) / f"{precision}-{number}{'' if turn == 0 else f'-{turn}'}"
                    samples[number].append(1000 * export(arguments.pythons[number], precision, out))
            exports[precision] = speed_up("before", *samples)
            for mode in arguments.modes:
                given = arguments.pythons, Path(place), precision, mode, arguments.rows, arguments.rounds
                results.append(compare(*given))
                print(results[-1], file=sys.stderr, flush=True)
    table = report(results, exports)
    print(table)
    if arguments.markdown:
        with whole_file(arguments.markdown) as partial:
            partial.write_text(table + "\n", encoding="utf-8")
    if not all(result.same for result in results):
        sys.exit("error: the answers differ")


if __name__ == "__main__":
    main()
