"""`bench`: a bundle and options in, a report out."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from trbert_deploy.bench.backends import Backends, open_backends
from trbert_deploy.bench.comparison import measure_quality
from trbert_deploy.bench.data import choose_dataset, choose_workloads
from trbert_deploy.bench.gates import check_gates, evaluate_gates
from trbert_deploy.bench.operations import flops_of
from trbert_deploy.bench.options import BenchOptions
from trbert_deploy.bench.report import ModelSummary, Report, WorkloadResult
from trbert_deploy.bench.stats import latency, speed_up
from trbert_deploy.bench.summary import sentence
from trbert_deploy.bench.timing import interleave
from trbert_deploy.bench.workload import Workload
from trbert_deploy.bundle import Bundle
from trbert_deploy.core.output import EngineOutput
from trbert_deploy.runtimes.environment import environment

Progress = Callable[[str, float], None]  # what is going on, and the fraction of it that is done


def run_bench(
    bundle: Bundle, options: BenchOptions | None = None, progress: Progress = lambda phase, done: None
) -> Report:
    """Measure a bundle.

    Raises:
        TRBertError: the bundle does not run so, the data cannot be read, or a gate cannot be evaluated.
    """
    progress("loading", 0.0)
    with open_backends(bundle, options or BenchOptions()) as backends:
        options = backends.options
        notes = list(backends.notes)
        dataset = choose_dataset(bundle, options, notes)
        check_gates(backends, bundle.manifest.task, dataset)
        workloads = [
            time_workload(backends, workload, progress)
            for workload in choose_workloads(bundle, dataset, options, notes)
        ]
        notes += _disturbed(workloads)
        quality, quality_notes = measure_quality(backends, dataset, progress)
        reduces = bool(bundle.manifest.reduction.layers)
        return Report(
            summary=sentence(workloads, backends.speed_baseline, quality, reduces=reduces),
            model=_model(bundle),
            environment=environment(),
            config=options,
            method=_method(options),
            backends=backends.descriptions,
            workloads=workloads,
            quality=quality,
            gates=evaluate_gates(backends, workloads, quality),
            notes=notes + quality_notes,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )


def time_workload(backends: Backends, workload: Workload, progress: Progress) -> WorkloadResult:
    """Time every backend on the same batches, in the same rounds."""
    dataset, subject, iterations = workload.dataset, backends.subject, backends.options.iterations
    engine = backends.engines[subject]
    batches: list[dict[str, Any]] = [dataset.batch(rows) for rows in workload.batches]
    timed = np.concatenate([workload.rows_of_round(number) for number in range(iterations)])
    tokens = int(dataset.inputs["attention_mask"][timed].sum())

    def call(name: str, number: int) -> EngineOutput:
        return backends.engines[name].run(**batches[number % len(batches)])

    phase = f"timing {workload.name}: {iterations} rounds of {len(backends.engines)} backends"
    progress(phase, 0.0)
    samples = interleave(
        {name: partial(call, name) for name in backends.engines},
        iterations=iterations,
        warmup=backends.options.warmup,
        on_round=lambda done: progress(phase, done / iterations),
    )
    selections = [engine.run(return_selection=True, **batch).selection or [] for batch in batches]
    of_rounds = [selections[number % len(batches)] for number in range(iterations)]
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
        flops=flops_of(engine.manifest.costs, dataset, timed, kept),
    )


def _disturbed(workloads: Sequence[WorkloadResult]) -> list[str]:
    """Notes on speed-ups that the rounds themselves contradict."""
    return [
        f"{workload.name}: against {one.against} the ratio of medians, {one.of_medians:.2f}, lies outside the middle "
        f"half of the single rounds' ratios, {one.of_rounds_low:.2f} to {one.of_rounds_high:.2f}: something else kept "
        "the machine busy, measure again, with more --iterations"
        for workload in workloads
        for one in workload.speed_ups
        if not one.of_rounds_low <= one.of_medians <= one.of_rounds_high
    ]


def _model(bundle: Bundle) -> ModelSummary:
    manifest = bundle.manifest
    keep = ", ".join(f"{fraction:g}" for fraction in manifest.reduction.fractions)
    return ModelSummary(
        bundle=str(bundle.folder),
        source=manifest.model.source,
        task=manifest.task.name,
        selection=f"{manifest.reduction.mode} {keep}".strip(),
        precision=manifest.precision,
        parameters=manifest.model.parameters,
        reduction_layers=list(manifest.reduction.layers),
    )


def _method(options: BenchOptions) -> dict[str, str]:
    device = f"{options.device} for every backend"
    return {
        "rounds": f"{options.iterations} after {options.warmup} of warm-up; in a round every backend runs the "
        "same batch once, in rotating order; one process, no garbage collection",
        "clock": "time.perf_counter_ns around one call; before each a rest until the process is idle",
        "counted": "checking the batch, grouping rows, running, copies between host and device",
        "not counted": "tokenization, loading",
        "threads": f"{options.threads} for every backend",
        "device": device + (", but those whose name says another" if options.beside else ""),
        "speed-up": "ratio of medians; percentiles are linearly interpolated between samples",
        "lengths": "rows keep their real lengths; ONNX Runtime's backends group rows by length, TensorRT's too and "
        "round up to the buckets that their engines were built for, PyTorch's pad a batch to its longest row",
        "FLOPs": "matrix products only, rows alone without padding; upstream's formula charges "
        "selectors at the kept length and leaves the pooler out",
    }
