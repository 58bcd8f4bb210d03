"""What the C++ library adds to ONNX Runtime, and how it compares with the Python engine: one row of 128 tokens.

Three programs on the same bundle and rows, one after the other in turning order, each alone on the machine's cores
while it runs: the C++ library, ONNX Runtime's sessions alone in the same C++ process
(benchmarks/cpp_overhead/main.cpp), and the Python engine. The bundle has to be in policy mode. Run it on an idle
machine:

    python benchmarks/cpp_overhead.py BUNDLE --threads 2 --json cpp_overhead.json

It builds the C++ program in build/cpp_overhead/, with ONNX Runtime from the folder that ONNXRUNTIME_ROOT names, or that
of this Python's wheel. Their outputs are compared before anything is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trbert_deploy.api import Engine, load
from trbert_deploy.bench.stats import speed_up
from trbert_deploy.bench.timing import order_of_round, rest_until_idle
from trbert_deploy.bench.workload import read_dataset
from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.runtimes.environment import environment

ROOT = Path(__file__).parents[1]
PROGRAMS = ("library", "bare", "python")
OVERHEAD_TARGET, PYTHON_TARGET = 0.02, 1.0
_REST_SECONDS = 0.06  # what the idle threads of the C++ process spin at most

Row = dict[str, np.ndarray]


@dataclass(frozen=True)
class Result:
    """Medians, ratios of medians, and quartiles of the single rounds' ratios.

    Attributes:
        length: tokens of each row.
        library_ms: median of the C++ library.
        bare_ms: median of ONNX Runtime alone.
        python_ms: median of the Python engine.
        overhead: library over bare, less 1.
        overhead_quartiles: of the single rounds.
        overhead_target: what it is to stay under.
        over_python: library over Python; below 1 the library is faster.
        over_python_quartiles: of the single rounds.
        samples_ms: raw, by program, in the order of rounds.
    """

    length: int
    library_ms: float
    bare_ms: float
    python_ms: float
    overhead: float
    overhead_quartiles: tuple[float, float]
    overhead_target: float
    over_python: float
    over_python_quartiles: tuple[float, float]
    samples_ms: dict[str, list[float]]


def build(folder: Path) -> Path:
    """Build the C++ program there; returns its path."""
    root = os.environ.get("ONNXRUNTIME_ROOT") or str(folder / "onnxruntime")
    if not Path(root).exists():
        folder.mkdir(parents=True, exist_ok=True)
        script = ROOT / "runtimes" / "cpp" / "scripts" / "onnxruntime_root.sh"
        subprocess.run([script, root, "wheel", sys.executable], check=True, stdout=sys.stderr)
    source = ROOT / "benchmarks" / "cpp_overhead"
    configure = ["cmake", "-S", source, "-B", folder, f"-DONNXRUNTIME_ROOT={root}", "-DTRBERT_BUILD_TOOLS=OFF"]
    subprocess.run(configure, check=True, stdout=sys.stderr)
    subprocess.run(["cmake", "--build", folder, "--target", "trbert-overhead"], check=True, stdout=sys.stderr)
    return folder / "trbert-overhead"


class Program:
    """The C++ process: one line in, one line out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, line: str) -> Any:
        """Its answer; an exception where it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the C++ program ended with exit code {self._process.wait()}")
        return json.loads(answer)


@contextmanager
def started(program: Path, bundle: Path, threads: int) -> Iterator[Program]:
    """The program as a process, ended with the block."""
    command = [program, bundle, str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


def rows_of_length(bundle: Bundle, length: int, most: int) -> list[Row]:
    """Reviews of at least that many tokens, cut to it; the last token ([SEP]) stays the last."""
    dataset = read_dataset(bundle, evaluation_file(), limit=10 * most)
    rows = []
    for place in np.flatnonzero(dataset.lengths >= length)[:most]:
        whole = dataset.batch(np.array([place]))
        row = {name: array[:, :length].copy() for name, array in whole.items()}
        row["input_ids"][0, -1] = whole["input_ids"][0, dataset.lengths[place] - 1]
        rows.append(row)
    if not rows:
        raise SystemExit(
            f"error: no review has {length} tokens for this bundle\nhint: --length {bundle.manifest.task.max_length}"
        )
    return rows


def measure(
    program: Program, engine: Engine, rows: Sequence[Row], *, iterations: int, warmup: int
) -> dict[str, list[float]]:
    """Milliseconds by program, a sample a round; the rounds take the rows in turn."""
    samples: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for number in range(warmup + iterations):
        row = rows[number % len(rows)]
        program.ask("row " + json.dumps({name: array[0].tolist() for name, array in row.items()}))
        outputs = {}
        for name in order_of_round(PROGRAMS, number):
            if name == "python":
                time.sleep(_REST_SECONDS)
                start = time.perf_counter_ns()
                outputs[name] = engine.run(**row)["logits"][0]
                taken = (time.perf_counter_ns() - start) / 1e6
                rest_until_idle()
            else:
                given = program.ask(name)  # rests by itself, before and not counted
                outputs[name], taken = np.array(given["logits"]), given["ms"]
            samples[name].append(taken)
        for name in PROGRAMS[1:]:
            np.testing.assert_allclose(outputs[name], outputs["library"], rtol=0, atol=1e-5)
    return {name: values[warmup:] for name, values in samples.items()}


def summarise(length: int, samples: dict[str, list[float]]) -> Result:
    """Ratios of medians, and quartiles of the rounds' ratios."""
    medians = {name: float(np.median(values)) for name, values in samples.items()}
    bare = speed_up("library", samples["library"], samples["bare"])
    python = speed_up("library", samples["library"], samples["python"])
    return Result(
        length=length,
        library_ms=medians["library"],
        bare_ms=medians["bare"],
        python_ms=medians["python"],
        overhead=bare.of_medians - 1,
        overhead_quartiles=(bare.of_rounds_low - 1, bare.of_rounds_high - 1),
        overhead_target=OVERHEAD_TARGET,
        over_python=python.of_medians,
        over_python_quartiles=(python.of_rounds_low, python.of_rounds_high),
        samples_ms=samples,
    )


def main() -> None:
    """Parse, build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rows", type=int, default=8, help="different rows")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--warmup", type=int, default=16)
    parser.add_argument("--json", type=Path, help="file for the results with raw samples and environment")
    options = parser.parse_args()

    program = build(ROOT / "build" / "cpp_overhead")
    rows = rows_of_length(open_bundle(options.bundle), options.length, options.rows)
    with (
        started(program, options.bundle, options.threads) as process,
        load(options.bundle, threads=options.threads) as engine,
    ):
        samples = measure(process, engine, rows, iterations=options.iterations, warmup=options.warmup)
    result = summarise(options.length, samples)
    low, high = (100 * value for value in result.overhead_quartiles)
    slow, fast = result.over_python_quartiles[::-1]
    print(
        f"length {result.length}: library {result.library_ms:.2f} ms, ONNX Runtime alone {result.bare_ms:.2f} ms: "
        f"overhead {100 * result.overhead:.1f} % (rounds' quartiles {low:.1f} to {high:.1f} %), "
        f"target {100 * OVERHEAD_TARGET:.0f} %\n"
        f"Python {result.python_ms:.2f} ms: the library takes {result.over_python:.3f} of it "
        f"({fast:.3f} to {slow:.3f}), target {PYTHON_TARGET:.0f}"
    )
    if options.json:
        document = {
            "benchmark": "cpp_overhead",
            "config": {"batch_size": 1}
            | {name: getattr(options, name) for name in ("threads", "length", "rows", "iterations", "warmup")},
            "environment": environment(),
            "results": [dataclasses.asdict(result)],
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
