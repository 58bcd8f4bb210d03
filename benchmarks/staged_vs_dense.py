"""How much of the FLOPs ratio becomes wall clock: staged against dense under ONNX Runtime, BERT-base shape.

Random weights, since time does not depend on them; budget 0.4, 0.15; batch 1. Run it on an idle machine:

    python benchmarks/staged_vs_dense.py --threads 2 --json staged_vs_dense.json

The first run exports the bundle (about two minutes); with --bundle DIR it is kept there and used again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trbert_deploy.api import load
from trbert_deploy.bench.stats import latency, speed_up
from trbert_deploy.bench.timing import interleave
from trbert_deploy.bench.workload import random_dataset
from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.core.costs import RowTokens, exact_flops
from trbert_deploy.core.selection import budget
from trbert_deploy.runtimes.environment import environment

KEEP = (0.4, 0.15)
#: Fraction of the FLOPs ratio that the wall clock is to reach, by length.
TARGETS = {128: 0.80, 512: 0.90}


@dataclass(frozen=True)
class Result:
    """One length: medians, ratios of dense over staged, and how much of the FLOPs ratio the clock reached."""

    length: int
    staged_ms: float
    dense_ms: float
    wall_clock_ratio: float
    flops_ratio: float
    reached: float
    target: float | None
    staged_samples_ms: list[float]
    dense_samples_ms: list[float]


def make_bundle(folder: Path, **shape: int) -> Bundle:
    """Export a random BERT with its dense graph.

    Args:
        folder: of the bundle; made.
        **shape: changes to BERT-base's configuration.
    """
    from trbert_deploy.checkpoint import load_checkpoint
    from trbert_deploy.export.exporter import export_bundle
    from trbert_deploy.model import TRBertConfig, model_class
    from trbert_deploy.tasks import TASKS

    with tempfile.TemporaryDirectory() as checkpoint:
        config = TRBertConfig(backbone={"model_type": "bert", **shape}, num_labels=2)
        model_class(TASKS.get("sequence-classification"))(config).save_pretrained(checkpoint)
        return export_bundle(
            load_checkpoint(checkpoint),
            folder,
            keep=KEEP,
            with_dense=True,
            reference=False,
            source="random BERT",
            progress=lambda line: print(line, file=sys.stderr),
        )


def flops_ratio(bundle: Bundle, length: int) -> float:
    """Exact FLOPs of the dense model over those of the staged one, for one row."""
    costs = bundle.manifest.costs
    kept = tuple(int(budget(np.array([length]), keep)[0]) for keep in bundle.manifest.reduction.fractions)
    row = RowTokens(length, kept)
    return exact_flops(costs, row.dense) / exact_flops(costs, row)


def measure(bundle: Bundle, lengths: list[int], threads: int | None, iterations: int, warmup: int) -> list[Result]:
    """Time staged and dense, interleaved, on one random row of each length."""
    results = []
    with (
        load(bundle, threads=threads) as staged,
        load(bundle, threads=threads, mode="dense") as dense,
    ):
        for length in lengths:
            inputs = random_dataset(bundle, [length], seed=length).inputs
            samples = interleave(
                {"staged": lambda _: staged.run(**inputs), "dense": lambda _: dense.run(**inputs)},  # noqa: B023
                iterations=iterations,
                warmup=warmup,
            )
            medians = {
                name: latency(values, iterations, length * iterations).p50_ms for name, values in samples.items()
            }
            wall_clock = speed_up("dense", samples["dense"], samples["staged"]).of_medians
            flops = flops_ratio(bundle, length)
            results.append(
                Result(
                    length,
                    medians["staged"],
                    medians["dense"],
                    wall_clock,
                    flops,
                    wall_clock / flops,
                    TARGETS.get(length),
                    samples["staged"],
                    samples["dense"],
                )
            )
    return results


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--bundle", type=Path, help="folder to keep the bundle in, or to find it in")
    parser.add_argument("--json", type=Path, help="file for the results with raw samples and environment")
    options = parser.parse_args()

    from trbert_deploy.runtimes.onnxruntime.pool import share_threads

    share_threads(options.threads)  # before the export's own checks size the pool
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.bundle or Path(temporary) / "bundle"
        bundle = open_bundle(folder) if folder.exists() else make_bundle(folder)
        results = measure(bundle, options.lengths, options.threads, options.iterations, options.warmup)
    for result in results:
        target = "" if result.target is None else f", target {result.target:.2f}"
        print(
            f"length {result.length}: staged {result.staged_ms:.1f} ms, dense {result.dense_ms:.1f} ms, "
            f"wall clock {result.wall_clock_ratio:.2f}x, exact FLOPs {result.flops_ratio:.2f}x, "
            f"reached {result.reached:.2f}{target}"
        )
    if options.json:
        document = {
            "benchmark": "staged_vs_dense",
            "config": {"keep": KEEP, "batch_size": 1}
            | {name: getattr(options, name) for name in ("threads", "iterations", "warmup")},
            "environment": environment(),
            "results": [dataclasses.asdict(result) for result in results],
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
