"""Wall clock of bundles under ONNX Runtime, one run of interleaved backends a batch size."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from evaluations import POLICY, TEACHER, progress

from trbert_deploy.api import Engine, load
from trbert_deploy.bench.stats import latency, speed_up
from trbert_deploy.bench.timing import interleave
from trbert_deploy.bench.workload import Dataset, data_workload
from trbert_deploy.bundle import Bundle
from trbert_deploy.checkpoint import Checkpoint
from trbert_deploy.core.selection import Selection
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.export.exporter import export_bundle
from trbert_deploy.training.batches import TokenizedExamples

SAMPLE = 256  # rows that are timed
PASSES = {1: 1, 32: 3}  # batch size: how often the sample is gone through
WARMUP = 3
SEED = 2021


@dataclass(frozen=True)
class Timed:
    """What is timed: an engine, on its form of the sampled rows."""

    engine: Engine
    sample: Dataset


@dataclass(frozen=True)
class Timing:
    """One batch size.

    Attributes:
        batch_size: rows of a batch.
        rows: of all rounds together.
        tokens: of these rows, uncut.
        samples_ms: by line, one a round.
    """

    batch_size: int
    rows: int
    tokens: int
    samples_ms: dict[str, list[float]]

    def ratio(self, name: str) -> float | None:
        """The teacher's median over a line's; None where the line was not timed."""
        if name not in self.samples_ms:
            return None
        return speed_up(TEACHER, self.samples_ms[TEACHER], self.samples_ms[name]).of_medians

    def as_json(self, name: str) -> dict[str, Any] | None:
        """Everything about a line; None where it was not timed."""
        if name not in self.samples_ms:
            return None
        samples = self.samples_ms[name]
        return {
            "batch_size": self.batch_size,
            "speed_up": dataclasses.asdict(speed_up(TEACHER, self.samples_ms[TEACHER], samples)),
            "latency": dataclasses.asdict(latency(samples, self.rows, self.tokens)),
        }


def with_budget(bundle: Bundle, keep: Sequence[float]) -> Bundle:
    """The same bundle under another budget: its stages are told how many tokens to keep, so they are the same graphs.

    Its fused graph is not: it has the fractions inside.
    """
    before = bundle.manifest.reduction
    reduction = replace(before, mode="budget", fractions=Selection.of(keep, len(before.layers)).fractions)
    return Bundle(bundle.folder, bundle.manifest.model_copy(update={"reduction": reduction}))


def measure_wall_clock(
    teacher: Checkpoint,
    model: Checkpoint,
    budgets: Mapping[str, Sequence[float]],
    cut_name: str,
    rows: TokenizedExamples,
    cut: TokenizedExamples,
    threads: int,
) -> list[Timing]:
    """Export, and time every line that is a bundle, for each batch size of `PASSES`."""
    drawn = np.random.default_rng(SEED).permutation(len(rows))[:SAMPLE]
    sample, cut_sample = (_dataset(one, drawn, teacher.model.spec) for one in (rows, cut))
    own = list(budgets.values())[-1]
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:

        def engine(bundle: Bundle) -> Engine:
            return stack.enter_context(load(bundle, threads=threads))

        def export(checkpoint: Checkpoint, folder: str, keep: Sequence[float]) -> Bundle:
            report = functools.partial(_report_export, folder)
            return export_bundle(checkpoint, Path(temporary) / folder, keep=keep, reference=False, progress=report)

        by_budget = export(model, "budget", own)
        teacher_engine = engine(export(teacher, "teacher", []))
        backends = {TEACHER: Timed(teacher_engine, sample), POLICY: Timed(engine(export(model, "policy", [])), sample)}
        backends |= {name: Timed(engine(with_budget(by_budget, keep)), sample) for name, keep in budgets.items()}
        backends[cut_name] = Timed(teacher_engine, cut_sample)
        return [time_backends(backends, batch_size, passes) for batch_size, passes in PASSES.items()]


def time_backends(backends: Mapping[str, Timed], batch_size: int, passes: int) -> Timing:
    """Go through the sample in batches, all backends interleaved."""
    workload = data_workload(backends[TEACHER].sample, batch_size, SAMPLE, SEED)
    size = len(workload.batches)
    batches: dict[str, list[dict[str, Any]]] = {
        name: [one.sample.batch(rows) for rows in workload.batches] for name, one in backends.items()
    }

    def call(name: str, number: int) -> object:
        return backends[name].engine.run(**batches[name][number % size])

    progress(f"timing {workload.name}: {passes * size} rounds of {len(backends)} backends")
    samples = interleave(
        {name: functools.partial(call, name) for name in backends}, iterations=passes * size, warmup=WARMUP
    )
    timed = np.concatenate(workload.batches * passes)
    return Timing(batch_size, len(timed), int(workload.dataset.lengths[timed].sum()), samples)


def _dataset(rows: TokenizedExamples, drawn: npt.NDArray[np.int64], task: TaskSpec) -> Dataset:
    inputs = {name: tensor.numpy() for name, tensor in rows.batch(drawn).inputs.items()}
    return Dataset(f"{len(drawn)} rows drawn at random", task, inputs)


def _report_export(name: str, line: str) -> None:
    progress(f"exporting {name}: {line}")
