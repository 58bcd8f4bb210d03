"""What a lower precision costs and brings: several bundles of one model side by side, the first one the yardstick.

    trbert-deploy export trbert-minilm-imdb --out fp32
    trbert-deploy export trbert-minilm-imdb --out fp16 --precision fp16
    trbert-deploy export trbert-minilm-imdb --out int8 --precision int8
    trbert-deploy export trbert-minilm-imdb --out int8-1 --precision int8 --fp32-layers 1
    python benchmarks/precision.py fp32 fp16 int8 int8-1 --data validation.jsonl --limit 2000 --json precision.json \
        --markdown precision.md

`benchmarks/imdb/prepare.py` writes validation.jsonl. Accuracy and flips of the selection are over all rows, whatever
the machine does beside. Times are of bundles interleaved in this process on the same batches, for an idle machine;
--iterations 0 leaves them out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trbert_deploy.api import Engine, load
from trbert_deploy.bench.comparison import flips_of
from trbert_deploy.bench.outputs import Outputs, run_all
from trbert_deploy.bench.predictions import predictions
from trbert_deploy.bench.stats import Latency, SpeedUp, latency, speed_up
from trbert_deploy.bench.timing import interleave
from trbert_deploy.bench.workload import Dataset, Workload, data_workload, read_dataset
from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.bundle.folder import whole_file
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.core.markdown import markdown_table
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.runtimes.environment import environment
from trbert_deploy.runtimes.onnxruntime.pool import share_threads

SEED = 2021

Say = Callable[[str], None]


@dataclass(frozen=True)
class Timing:
    """A bundle on one workload: its times, and how many times faster than the first bundle it was."""

    batch_size: int
    latency: Latency
    speed_up: SpeedUp | None


@dataclass(frozen=True)
class Result:
    """One bundle.

    Attributes:
        name: its folder's.
        precision: of its graphs.
        quantization: how, where it is int8.
        accuracy: percent of the labelled rows.
        change: of the accuracy from the first bundle's, percentage points.
        other_predictions: rows that it predicts otherwise than the first bundle.
        max_logit_difference: from the first bundle's, the largest.
        flip_percent: for each reduction, tokens that only one of the two bundles keeps, by the tokens that reach the
            reduction in the first.
        kept_percent: for each reduction the mean over rows of tokens kept by the row's length.
        timings: one for each batch size.
    """

    name: str
    precision: str
    quantization: dict[str, Any] | None
    accuracy: float
    change: float
    other_predictions: int
    max_logit_difference: float
    flip_percent: list[float]
    kept_percent: list[float]
    timings: list[Timing]


def flip_percents(given: Outputs, wanted: Outputs, lengths: Sequence[int]) -> list[float]:
    """For each reduction the tokens that one keeps and the other drops, of those that reach it in `wanted`."""
    reached, found = sum(lengths), []
    for mine, theirs in zip(given.kept, wanted.kept, strict=True):
        found.append(100 * sum(flips_of(mine, theirs)) / reached)
        reached = sum(len(positions) for positions in theirs)
    return found


def measure(
    bundles: Sequence[Bundle],
    dataset: Dataset,
    *,
    threads: int | None,
    batch_sizes: Sequence[int],
    iterations: int,
    warmup: int,
    say: Say,
) -> list[Result]:
    """Compare bundles with the first one.

    Args:
        bundles: of one model.
        dataset: labelled rows.
        threads: of every bundle.
        batch_sizes: one workload for each.
        iterations: rounds that count; 0: nothing is timed.
        warmup: rounds before them.
        say: is given a line for every step.
    """
    names = [bundle.folder.resolve().name for bundle in bundles]
    engines = {name: load(bundle, threads=threads) for name, bundle in zip(names, bundles, strict=True)}
    task = bundles[0].manifest.task
    outputs = {}
    for name, engine in engines.items():
        say(f"{name}: {len(dataset)} rows")
        outputs[name] = run_all(engine, dataset)
    timings: dict[str, list[Timing]] = {name: [] for name in names}
    for batch_size in batch_sizes if iterations else ():
        say(f"timing batch {batch_size}")
        workload = data_workload(dataset, batch_size, iterations, SEED)
        for name, timing in _time(engines, workload, iterations, warmup).items():
            timings[name].append(timing)
    results = [
        _result(bundle, name, outputs, dataset, task, timings[name])
        for name, bundle in zip(names, bundles, strict=True)
    ]
    for engine in engines.values():
        engine.close()
    return [dataclasses.replace(one, change=one.accuracy - results[0].accuracy) for one in results]


def _time(engines: dict[str, Engine], workload: Workload, iterations: int, warmup: int) -> dict[str, Timing]:
    batches: list[dict[str, Any]] = [workload.dataset.batch(rows) for rows in workload.batches]

    def call(name: str, number: int) -> object:
        return engines[name].run(**batches[number % len(batches)])

    samples = interleave(
        {name: lambda number, name=name: call(name, number) for name in engines},  # type: ignore[misc]
        iterations=iterations,
        warmup=warmup,
    )
    timed = np.concatenate([workload.rows_of_round(number) for number in range(iterations)])
    tokens = int(workload.dataset.lengths[timed].sum())
    first = next(iter(engines))
    return {
        name: Timing(
            workload.batch_size,
            latency(values, len(timed), tokens),
            None if name == first else speed_up(first, samples[first], values),
        )
        for name, values in samples.items()
    }


def _result(
    bundle: Bundle, name: str, outputs: dict[str, Outputs], dataset: Dataset, task: TaskSpec, timings: list[Timing]
) -> Result:
    given, wanted = outputs[name], next(iter(outputs.values()))
    mine, theirs = ([predictions(task, row)[0] for row in one.rows] for one in (given, wanted))
    facts = bundle.manifest.quantization
    return Result(
        name=name,
        precision=bundle.manifest.precision,
        quantization=None if facts is None else facts.model_dump(mode="json"),
        accuracy=100 * float(np.mean(np.array(mine) == np.array(dataset.labels))),
        change=0.0,
        other_predictions=sum(one != other for one, other in zip(mine, theirs, strict=True)),
        max_logit_difference=max(
            float(np.abs(one["logits"] - other["logits"]).max())
            for one, other in zip(given.rows, wanted.rows, strict=True)
        ),
        flip_percent=flip_percents(given, wanted, dataset.lengths.tolist()),
        kept_percent=[
            100 * float(np.mean([len(positions) for positions in rows] / dataset.lengths)) for rows in given.kept
        ],
        timings=timings,
    )


def markdown(document: dict[str, Any], results: Sequence[Result]) -> str:
    """One table, with the method and the environment below it."""
    headers = ["bundle", "precision", "accuracy, %", "change, points", "other predictions", "flips, %", "kept, %"]
    for timing in results[0].timings:
        headers += [f"p50 at batch {timing.batch_size}, ms", "faster, x", "of rounds, quartiles"]
    rows = []
    for one in results:
        row = [one.name, one.precision, f"{one.accuracy:.2f}", f"{one.change:+.2f}", f"{one.other_predictions}"]
        row += [", ".join(f"{value:.2f}" for value in values) for values in (one.flip_percent, one.kept_percent)]
        for timing in one.timings:
            row.append(f"{timing.latency.p50_ms:.2f}")
            ratio = timing.speed_up
            row += (
                ["-", "-"]
                if ratio is None
                else [f"{ratio.of_medians:.2f}", f"{ratio.of_rounds_low:.2f}-{ratio.of_rounds_high:.2f}"]
            )
        rows.append(row)
    config = document["config"]
    method = (
        f"{config['rows']} rows of {config['data']}; ONNX Runtime on the CPU, a graph a stage. Change, other "
        f"predictions and flips are against `{results[0].name}`. Flips: of the tokens that reach a reduction there, "
        "those that only one of the two keeps."
    )
    if results[0].timings:
        method += (
            f" Times: {config['iterations']} rounds after {config['warmup']} of warm-up, bundles interleaved in one "
            f"process, {config['threads']} threads; faster: ratio of medians."
        )
    facts = "\n".join(f"- {name}: {value}" for name, value in document["environment"].items())
    return f"{markdown_table(headers, rows)}\n\n{method}\n\n    {document['command']}\n\n{facts}\n"


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", help="folders that `export` wrote, the yardstick first")
    parser.add_argument("--data", type=Path, help="JSON lines with text and label; by default the package's reviews")
    parser.add_argument("--limit", type=int, help="use so many rows at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--iterations", type=int, default=40, help="0: no times")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the results with raw samples and environment")
    parser.add_argument("--markdown", type=Path, help="file for the table")
    options = parser.parse_args()

    if len({folder.resolve().name for folder in options.bundles}) < len(options.bundles):
        parser.error("the bundles' folders need different names")
    share_threads(options.threads)
    bundles = [open_bundle(folder) for folder in options.bundles]
    dataset = read_dataset(bundles[0], options.data or evaluation_file(), options.limit)
    if None in dataset.labels or not dataset.labels:
        parser.error("every row needs a label")
    results = measure(
        bundles,
        dataset,
        threads=options.threads,
        batch_sizes=options.batch_sizes,
        iterations=options.iterations,
        warmup=options.warmup,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    settings = {name: getattr(options, name) for name in ("threads", "batch_sizes", "iterations", "warmup")}
    document = {
        "benchmark": "precision",
        "command": f"python benchmarks/precision.py {' '.join(_short(word) for word in sys.argv[1:])}",
        "config": {"data": dataset.name, "rows": len(dataset), "model": bundles[0].manifest.model.source} | settings,
        "environment": environment(),
        "results": [dataclasses.asdict(result) for result in results],
    }
    text = markdown(document, results)
    print(text)
    for path, content in ((options.json, json.dumps(document, indent=2) + "\n"), (options.markdown, text)):
        if path is not None:
            with whole_file(path) as partial:
                partial.write_text(content, encoding="utf-8")


def _short(word: str) -> str:
    """An argument as it stands in a report: of a path outside this folder only the last part says anything."""
    return Path(word).name if word.startswith("/") else word


if __name__ == "__main__":
    main()
