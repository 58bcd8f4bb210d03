"""What grouping rows gives, by length at the input and by kept count between stages: one pipeline, real reviews.

The model is the one that ships with the project, in policy mode, so kept counts differ from row to row. Run it on an
idle machine:

    python benchmarks/regrouping.py --threads 2 --json regrouping.json

Three ways on the same batches: every batch whole, padded to its widest row at every stage; grouped at the input and
never again; and as the runtimes do it, in both places.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trbert_deploy.bench.stats import latency
from trbert_deploy.bench.timing import interleave
from trbert_deploy.bench.workload import Dataset, data_workload, read_dataset
from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.core.markdown import markdown_table
from trbert_deploy.core.request import check_request
from trbert_deploy.export.shipped import shipped_bundle
from trbert_deploy.runtimes.environment import environment
from trbert_deploy.runtimes.onnxruntime.pool import share_threads
from trbert_deploy.runtimes.onnxruntime.sessions import SessionRunner, SessionRuntime
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.pipeline import Group, group_by_count, make_pipeline


def whole(stage: int, counts: npt.NDArray[np.int64], sequences: int) -> list[npt.NDArray[np.int64]]:
    """All rows together."""
    return [np.arange(len(counts))]


def at_input(stage: int, counts: npt.NDArray[np.int64], sequences: int) -> list[npt.NDArray[np.int64]]:
    """By length, and what was grouped stays together."""
    return (group_by_count if stage == 0 else whole)(stage, counts, sequences)


GROUPS: dict[str, Group] = {"none": whole, "at the input": at_input, "at the input and between stages": group_by_count}


@dataclass(frozen=True)
class Result:
    """One way of grouping.

    Attributes:
        groups: where rows are grouped.
        rows_per_second: all rows over all time.
        times_whole: by how much more that is than without groups.
        padded_tokens: tokens that the layers compute over those that rows have, weighted by the layers of each stage.
        samples_ms: a batch each.
    """

    groups: str
    rows_per_second: float
    times_whole: float
    padded_tokens: float
    samples_ms: list[float]


def measure(
    bundle: Bundle, dataset: Dataset, *, batch_size: int, threads: int | None, iterations: int, warmup: int
) -> tuple[list[float], list[Result]]:
    """Time all ways, interleaved, on the same batches of rows as they come.

    Returns:
        The fractions that the reductions keep, and a result for each of `GROUPS`.
    """
    workload = data_workload(dataset, batch_size, iterations, seed=2021)
    manifest = bundle.manifest
    requests = [check_request(manifest.task, dataset.batch(rows)) for rows in workload.batches]
    counted = {name: _Counted(group) for name, group in GROUPS.items()}
    staged = {name: _staged(bundle, threads, group) for name, group in counted.items()}

    def call(name: str, number: int) -> object:
        return staged[name].run(requests[number % len(requests)], want_kept=False)

    samples = interleave(
        {name: lambda number, name=name: call(name, number) for name in staged},  # type: ignore[misc]
        iterations=iterations,
        warmup=warmup,
    )
    timed = np.concatenate([workload.rows_of_round(number) for number in range(iterations)])
    tokens = int(dataset.lengths[timed].sum())
    speed = {name: latency(values, len(timed), tokens).rows_per_second for name, values in samples.items()}
    fractions = []
    for request in requests:
        kept = staged["none"].run(request, want_kept=True).kept or []
        fractions.append([np.mean([len(p) for p in rows] / request.lengths) for rows in kept])
    for runtime in staged.values():
        runtime.close()
    bounds = [0, *manifest.reduction.layers, manifest.model.num_layers]
    layers = np.diff(bounds)
    return [float(fraction) for fraction in np.mean(fractions, axis=0)], [
        Result(name, speed[name], speed[name] / speed["none"], counted[name].ratio(layers), samples[name])
        for name in GROUPS
    ]


def _staged(bundle: Bundle, threads: int | None, group: Group) -> SessionRuntime:
    """The bundle's stages under ONNX Runtime, rows grouped as told."""
    runner = SessionRunner(bundle, bundle.manifest.stages, "cpu", LoadOptions(threads=threads))
    return SessionRuntime(runner, make_pipeline(bundle, "staged", runner, group), "cpu")


class _Counted:
    """A way to group that adds up what it makes the layers compute."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._computed: Counter[int] = Counter()
        self._real: Counter[int] = Counter()

    def __call__(self, stage: int, counts: npt.NDArray[np.int64], sequences: int) -> list[npt.NDArray[np.int64]]:
        groups = self._group(stage, counts, sequences)
        self._computed[stage] += sum(len(group) * int(counts[group].max()) for group in groups)
        self._real[stage] += int(counts.sum())
        return groups

    def ratio(self, layers: npt.NDArray[np.int64]) -> float:
        """Computed tokens over real ones, each stage as often as it has layers."""
        computed, real = (
            sum(count * tokens[stage] for stage, count in enumerate(layers)) for tokens in (self._computed, self._real)
        )
        return float(computed / real)


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
    bundle = open_bundle(options.bundle) if options.bundle else shipped_bundle(progress)
    fractions, results = measure(
        bundle,
        read_dataset(bundle, evaluation_file()),
        batch_size=options.batch_size,
        threads=options.threads,
        iterations=options.iterations,
        warmup=options.warmup,
    )
    print(f"batch {options.batch_size}, kept {', '.join(f'{100 * fraction:.0f} %' for fraction in fractions)}")
    rows = [
        (one.groups, f"{one.rows_per_second:.1f}", f"{one.times_whole:.2f}x", f"{one.padded_tokens:.2f}")
        for one in results
    ]
    print(markdown_table(("groups", "rows/s", "throughput", "tokens computed, of real ones"), rows))
    if options.json:
        document = {
            "benchmark": "regrouping",
            "config": {"model": bundle.manifest.model.source}
            | {name: getattr(options, name) for name in ("threads", "batch_size", "iterations", "warmup")},
            "environment": environment(),
            "kept_fractions": fractions,
            "results": [dataclasses.asdict(one) for one in results],
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
