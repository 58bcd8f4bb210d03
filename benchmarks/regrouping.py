"""What regrouping rows by length and by kept count gives: one pipeline with and without it, real reviews.

The model is the one that ships with the package, in policy mode, so kept counts differ from row to row. Run it on an
idle machine:

    python benchmarks/regrouping.py --threads 2 --json regrouping.json

"Without" keeps a batch together from the input on, padded to its longest row at every stage.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trbert_deploy.bench.stats import latency, speed_up
from trbert_deploy.bench.timing import interleave
from trbert_deploy.bench.workload import Dataset, data_workload, read_dataset
from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.environment import environment
from trbert_deploy.export.builtin import builtin_bundle
from trbert_deploy.request import check_request
from trbert_deploy.runtimes.onnxrt import StagedRuntime, share_threads

TARGET = 1.3


@dataclass(frozen=True)
class Result:
    """Rows a second, their ratio, and what the selectors kept.

    `of_medians` is the ratio of the medians, `quartiles` are of the single rounds' ratios.
    """

    with_rows_per_second: float
    without_rows_per_second: float
    throughput_ratio: float
    of_medians: float
    quartiles: tuple[float, float]
    kept_fractions: list[float]
    target: float
    with_samples_ms: list[float]
    without_samples_ms: list[float]


def measure(
    bundle: Bundle, dataset: Dataset, *, batch_size: int, threads: int | None, iterations: int, warmup: int
) -> Result:
    """Time both pipelines, interleaved, on the same batches of rows as they come."""
    workload = data_workload(dataset, batch_size, iterations, seed=2021)
    manifest = bundle.manifest
    requests = [
        check_request(manifest.task_facts, manifest.limit_facts, dataset.batch(rows)) for rows in workload.batches
    ]
    arms = {
        name: StagedRuntime(bundle, threads=threads, regroup=regroup)
        for name, regroup in (("with", True), ("without", False))
    }

    def call(name: str, number: int) -> object:
        return arms[name].answer(requests[number % len(requests)], want_kept=False)

    samples = interleave(
        {name: lambda number, name=name: call(name, number) for name in arms},  # type: ignore[misc]
        iterations=iterations,
        warmup=warmup,
    )
    timed = np.concatenate([workload.rows_of_round(number) for number in range(iterations)])
    tokens = int(dataset.lengths[timed].sum())
    speed = {name: latency(values, len(timed), tokens).rows_per_second for name, values in samples.items()}
    ratio = speed_up("without", samples["without"], samples["with"])
    fractions = []
    for request in requests:
        kept = arms["with"].answer(request, want_kept=True).kept or []
        fractions.append([np.mean([len(p) for p in rows] / request.lengths) for rows in kept])
    for arm in arms.values():
        arm.close()
    return Result(
        with_rows_per_second=speed["with"],
        without_rows_per_second=speed["without"],
        throughput_ratio=speed["with"] / speed["without"],
        of_medians=ratio.of_medians,
        quartiles=(ratio.of_rounds_low, ratio.of_rounds_high),
        kept_fractions=[float(fraction) for fraction in np.mean(fractions, axis=0)],
        target=TARGET,
        with_samples_ms=samples["with"],
        without_samples_ms=samples["without"],
    )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=24)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--bundle", type=Path, help="another bundle")
    parser.add_argument("--json", type=Path, help="file for the results with raw samples and environment")
    options = parser.parse_args()

    share_threads(options.threads)  # before the export's own checks size the pool
    progress = functools.partial(print, file=sys.stderr)
    bundle = open_bundle(options.bundle) if options.bundle else builtin_bundle(progress)
    result = measure(
        bundle,
        read_dataset(bundle, evaluation_file()),
        batch_size=options.batch_size,
        threads=options.threads,
        iterations=options.iterations,
        warmup=options.warmup,
    )
    kept = ", ".join(f"{100 * fraction:.0f} %" for fraction in result.kept_fractions)
    print(
        f"batch {options.batch_size}, kept {kept}: {result.with_rows_per_second:.1f} rows/s with regrouping, "
        f"{result.without_rows_per_second:.1f} without: {result.throughput_ratio:.2f}x (medians "
        f"{result.of_medians:.2f}x, quartiles {result.quartiles[0]:.2f}-{result.quartiles[1]:.2f}), "
        f"target {result.target}"
    )
    if options.json:
        document = {
            "benchmark": "regrouping",
            "config": {"model": bundle.manifest.model.source}
            | {name: getattr(options, name) for name in ("threads", "batch_size", "iterations", "warmup")},
            "environment": environment(),
            "results": [dataclasses.asdict(result)],
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
