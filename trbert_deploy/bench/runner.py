"""`bench`: a bundle and options in, a report out."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trbert_deploy.api import EngineOutput
from trbert_deploy.bench.arms import BESIDE, Arms, open_arms
from trbert_deploy.bench.gates import (
    ACCURACY_GATE,
    SPEED_UP_GATE,
    accuracy_gate,
    require_baseline,
    require_labels,
    speed_up_gate,
)
from trbert_deploy.bench.quality import flops_of, measure_quality
from trbert_deploy.bench.report import GateResult, ModelSummary, Quality, Report, WorkloadResult
from trbert_deploy.bench.stats import latency, speed_up
from trbert_deploy.bench.timing import interleave
from trbert_deploy.bench.workload import (
    Dataset,
    Workload,
    data_workload,
    random_dataset,
    random_workload,
    read_dataset,
)
from trbert_deploy.bundle import Bundle
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.core.errors import InputError, TRBertError
from trbert_deploy.core.flops import ModelShape
from trbert_deploy.runtimes.environment import environment
from trbert_deploy.tasks import SEQUENCE_CLASSIFICATION

_RANDOM_ROWS = 64  # compared where there is no data: as many, of lengths up to the model's limit
_SEED = 2021

Progress = Callable[[str, float], None]  # what is going on, and the fraction of it that is done


@dataclass(frozen=True)
class BenchOptions:
    """What to measure.

    Attributes:
        runtime: of the bundle, see `trbert_deploy.load`.
        mode: ``"staged"`` or ``"fused"``.
        provider: see `trbert_deploy.load`.
        engines: see `trbert_deploy.load`.
        device: of every arm.
        threads: of every arm; None for all usable cores.
        data: labelled JSON lines; None for the reviews that ship with the package where the task is sequence
            classification and the bundle has a tokenizer, else random rows.
        limit: so many rows of the data at most.
        batch_sizes: one workload for each.
        lengths: where given, workloads are random rows of exactly these lengths instead of the data's.
        iterations: rounds that count.
        warmup: rounds before them that do not.
        max_accuracy_drop: gate, percentage points.
        min_speedup: gate, ratio.
        replay_selection: whether to compare with the reference once more with the reference's kept sets, which tells
            numeric error and flips of the selection apart.
        beside: other runtimes to measure the bundle on, of `trbert_deploy.bench.arms.BESIDE`; one that is not there
            is left out with a note.
    """

    runtime: str = "ort"
    mode: str = "staged"
    provider: str | None = None
    engines: Path | None = None
    device: str = "cpu"
    threads: int | None = None
    data: Path | None = None
    limit: int | None = None
    batch_sizes: tuple[int, ...] = (1, 32)
    lengths: tuple[int, ...] = ()
    iterations: int = 20
    warmup: int = 3
    max_accuracy_drop: float | None = None
    min_speedup: float | None = None
    replay_selection: bool = False
    beside: tuple[str, ...] = ()


def run_bench(bundle: Bundle, options: BenchOptions, progress: Progress = lambda phase, done: None) -> Report:
    """Measure a bundle.

    Raises:
        TRBertError: the bundle does not run so, the data cannot be read, or a gate cannot be evaluated.
    """
    _check(options)
    progress("loading", 0.0)
    with open_arms(
        bundle,
        runtime=options.runtime,
        mode=options.mode,
        device=options.device,
        threads=options.threads,
        provider=options.provider,
        engines=options.engines,
        beside=options.beside,
    ) as arms:
        notes = list(arms.notes)
        dataset = _dataset(bundle, options, notes)
        _check_gates(options, arms, dataset)
        planned = _workloads(bundle, dataset, options, notes)
        workloads = [_time(arms, workload, options, progress) for workload in planned]
        notes += _disturbed(workloads)
        quality, quality_notes = measure_quality(arms, dataset, progress, replay=options.replay_selection)
        notes += quality_notes
        return Report(
            model=_summary(bundle),
            environment=environment(),
            config=_config(options, arms.threads, dataset),
            method=_method(options, arms.threads),
            arms=arms.descriptions,
            workloads=workloads,
            quality=quality,
            gates=_gates(options, arms, workloads, quality),
            notes=notes,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )


def _check(options: BenchOptions) -> None:
    for name, numbers, least in (
        ("--batch-size", options.batch_sizes, 1),
        ("--length", options.lengths, 1),
        ("--iterations", (options.iterations,), 1),
        ("--warmup", (options.warmup,), 0),
        ("--limit", (1 if options.limit is None else options.limit,), 1),
    ):
        if any(number < least for number in numbers):
            raise TRBertError(f"{name} must be at least {least}, not {', '.join(map(str, numbers))}")
    if unknown := [name for name in options.beside if name not in BESIDE]:
        raise TRBertError(f"unknown runtime {unknown[0]!r}", f"--beside takes {', '.join(BESIDE)}, or all")
    if not options.batch_sizes:
        raise TRBertError("there is no batch size to measure", "--batch-size 1,32")
    if options.replay_selection and (options.runtime == "torch" or options.mode != "staged"):
        raise TRBertError(
            "--replay-selection tells a bundle's stages which tokens to keep, and one graph or the reference itself "
            "cannot be told",
            "--runtime ort --mode staged",
        )


def _check_gates(options: BenchOptions, arms: Arms, dataset: Dataset) -> None:
    if options.max_accuracy_drop is not None:
        require_baseline(ACCURACY_GATE, arms.accuracy_baseline)
        task = arms.engines[arms.subject].manifest.task
        labelled = sum(label is not None for label in dataset.labels)
        require_labels(labelled if task is SEQUENCE_CLASSIFICATION else 0)
    if options.min_speedup is not None:
        require_baseline(SPEED_UP_GATE, arms.speed_baseline)


def _dataset(bundle: Bundle, options: BenchOptions, notes: list[str]) -> Dataset:
    """The rows for accuracy and agreement, and for timing unless lengths were given."""
    if options.data is not None:
        return read_dataset(bundle, options.data, options.limit)
    manifest = bundle.manifest
    if manifest.task is SEQUENCE_CLASSIFICATION and manifest.tokenizer is not None:
        try:
            dataset = read_dataset(bundle, evaluation_file(), options.limit)
        except InputError as error:
            notes.append(f"the reviews that ship with the package do not fit this model: {error.message}")
        else:
            notes.append(
                "data: IMDb movie reviews that ship with the package (label 1: positive); the accuracy means "
                "something for models of sentiment only"
            )
            return dataset
    size, limit = options.limit or _RANDOM_ROWS, manifest.task.max_length
    rng = np.random.default_rng(_SEED)
    lengths = [int(length) for length in rng.integers(max(1, limit // 8), limit + 1, size)]
    notes.append(f"data: {size} rows of random tokens of random lengths (give real ones with --data)")
    return random_dataset(bundle, lengths, _SEED)


def _workloads(bundle: Bundle, dataset: Dataset, options: BenchOptions, notes: list[str]) -> list[Workload]:
    if options.lengths:
        return [
            random_workload(bundle, size, length, _SEED) for length in options.lengths for size in options.batch_sizes
        ]
    notes += [
        f"batch {size}: the data has {len(dataset)} rows only, so a batch holds some of them more than once"
        for size in options.batch_sizes
        if size > len(dataset)
    ]
    return [data_workload(dataset, size, options.iterations, _SEED) for size in options.batch_sizes]


def _time(arms: Arms, workload: Workload, options: BenchOptions, progress: Progress) -> WorkloadResult:
    dataset, subject = workload.dataset, arms.subject
    batches: list[dict[str, Any]] = [dataset.batch(rows) for rows in workload.batches]
    timed = np.concatenate([workload.rows_of_round(number) for number in range(options.iterations)])
    tokens = int(dataset.inputs["attention_mask"][timed].sum())

    def call(name: str, number: int) -> EngineOutput:
        return arms.engines[name].run(**batches[number % len(batches)])

    phase = f"timing {workload.name}: {options.iterations} rounds of {len(arms.engines)} arms"
    progress(phase, 0.0)
    samples = interleave(
        {name: partial(call, name) for name in arms.engines},
        iterations=options.iterations,
        warmup=options.warmup,
        on_round=lambda done: progress(phase, done / options.iterations),
    )
    selections = [arms.engines[subject].run(return_selection=True, **batch).selection or [] for batch in batches]
    of_rounds = [selections[number % len(batches)] for number in range(options.iterations)]
    kept = [[row for rows in reduction for row in rows] for reduction in zip(*of_rounds, strict=True)]
    lengths = dataset.lengths[timed]
    return WorkloadResult(
        name=workload.name,
        rows_from=dataset.name,
        batch_size=workload.batch_size,
        distinct_batches=len(batches),
        min_length=int(lengths.min()),
        median_length=float(np.median(lengths)),
        max_length=int(lengths.max()),
        latencies={name: latency(values, len(timed), tokens) for name, values in samples.items()},
        speed_ups=[speed_up(name, values, samples[subject]) for name, values in samples.items() if name != subject],
        flops=flops_of(ModelShape.of(arms.engines[subject].manifest), dataset, timed, kept),
    )


def _disturbed(workloads: Sequence[WorkloadResult]) -> list[str]:
    """Notes on speed-ups that the rounds themselves contradict."""
    return [
        f"{workload.name}: against {one.against} the ratio of medians, {one.of_medians:.2f}, lies outside the quartiles"
        f" of the rounds' own ratios, {one.of_rounds_low:.2f} to {one.of_rounds_high:.2f}: something else kept the "
        "machine busy, measure again, with more --iterations"
        for workload in workloads
        for one in workload.speed_ups
        if not one.of_rounds_low <= one.of_medians <= one.of_rounds_high
    ]


def _gates(options: BenchOptions, arms: Arms, workloads: list[WorkloadResult], quality: Quality) -> list[GateResult]:
    gates = []
    if options.max_accuracy_drop is not None:
        gates.append(accuracy_gate(quality.accuracy, options.max_accuracy_drop))
    if options.min_speedup is not None:
        gates.append(speed_up_gate(workloads, arms.speed_baseline, options.min_speedup))
    return gates


def _summary(bundle: Bundle) -> ModelSummary:
    manifest = bundle.manifest
    keep = ", ".join(f"{fraction:g}" for fraction in manifest.reduction.fractions)
    return ModelSummary(
        bundle=str(bundle.folder),
        source=manifest.model.source,
        task=manifest.task,
        selection=f"{manifest.reduction.mode} {keep}".strip(),
        precision=manifest.precision,
        parameters=manifest.model.parameters,
        reduction_layers=manifest.reduction.layers,
    )


def _config(options: BenchOptions, threads: int, dataset: Dataset) -> dict[str, Any]:
    resolved = {
        "threads": threads,
        "data": str(options.data or dataset.name),
        "seed": _SEED,
        "engines": None if options.engines is None else str(options.engines),
    }
    return dataclasses.asdict(options) | resolved


def _method(options: BenchOptions, threads: int) -> dict[str, str]:
    return {
        "rounds": f"{options.iterations} after {options.warmup} of warm-up; in a round every arm runs the "
        "same batch once, in rotating order; one process, no garbage collection",
        "clock": "time.perf_counter_ns around one call; before each a rest until the process is idle",
        "counted": "checking the batch, grouping rows, running, copies between host and device",
        "not counted": "tokenization, loading",
        "threads": f"{threads} for every arm",
        "device": f"{options.device} for every arm" + (", but those whose name says another" if options.beside else ""),
        "speed-up": "ratio of medians; percentiles are linearly interpolated between samples",
        "lengths": "rows keep their real lengths; ONNX Runtime's arms group rows by length, TensorRT's too and round "
        "up to the buckets that their engines were built for, PyTorch's pad a batch to its longest row",
        "FLOPs": "matrix products only, rows alone without padding; upstream's formula charges "
        "selectors at the kept length and leaves the pooler out",
    }
