"""Which shapes to build engines for: quantiles of real lengths and kept counts, or what the user says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trbert_deploy.api import load
from trbert_deploy.bench.outputs import run_all
from trbert_deploy.bench.workload import Dataset, read_dataset
from trbert_deploy.bundle import Bundle
from trbert_deploy.calib_data import calibration_file
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.selection import budget, budget_counts
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.runtimes.profiles import own_axes
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets, doubling_buckets, parse_buckets, quantile_buckets

#: Sequences of a row, and other entries, at most, where no data says: as RACE has options, HotpotQA sentences.
_SEQUENCES, _ENTRIES = 4, 64


@dataclass(frozen=True)
class _Counted:
    """What data shows: lengths of rows, for each reduction their kept counts, and the most entries of a row."""

    lengths: list[int]
    kept: list[list[int]]
    entries: int | None


def choose_shape_buckets(
    bundle: Bundle,
    *,
    buckets: str | None = None,
    data: Path | None = None,
    rows: int = 32,
    entries: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ShapeBuckets:
    """Choose the shapes.

    Args:
        bundle: whose engines.
        buckets: see `parse_buckets`; where given, no data is read.
        data: JSON lines to count tokens in; by default the calibration reviews where the model chooses a class for a
            text and the bundle has a tokenizer, else there is no data and buckets double from 32 on.
        rows: a group has so many at most.
        entries: a row has so many options, sentences or candidates at most; by default as many as the data shows.
        say: is given a line on where the buckets come from.

    Raises:
        InputError: the buckets or the data cannot be used.
        MissingExtraError: kept counts of a policy bundle need ONNX Runtime.
    """
    manifest = bundle.manifest
    task, reduction = manifest.task, manifest.reduction
    usual = _SEQUENCES if task.sequences_axis else _ENTRIES
    if buckets is not None:
        lists = parse_buckets(buckets, task.max_length, len(reduction.layers))
        return ShapeBuckets(lengths=lists[0], kept=lists[1:], rows=rows, entries=entries or usual)
    largest = [task.max_length] * len(reduction.layers)
    if reduction.mode == "budget" and task.protected_from is None:
        largest = [int(budget(np.array([task.max_length]), fraction)[0]) for fraction in reduction.fractions]
    counted = _count(bundle, data, say)
    if counted is None:
        say("no data: buckets double from 32 tokens on (give real rows with --data, or --buckets)")
        kept = tuple(doubling_buckets(most) for most in largest)
        return ShapeBuckets(lengths=doubling_buckets(task.max_length), kept=kept, rows=rows, entries=entries or usual)
    kept = tuple(quantile_buckets(one, most) for one, most in zip(counted.kept, largest, strict=True))
    lengths = quantile_buckets(counted.lengths, task.max_length)
    return ShapeBuckets(lengths=lengths, kept=kept, rows=rows, entries=entries or counted.entries or usual)


def _count(bundle: Bundle, data: Path | None, say: Callable[[str], None]) -> _Counted | None:
    """Count tokens; None where there is nothing to count them in."""
    manifest = bundle.manifest
    path = data or calibration_file()
    if data is None and not (manifest.task.decoding.kind == "classes" and manifest.tokenizer is not None):
        return None
    try:
        dataset = read_dataset(bundle, path)
    except InputError as error:
        if data is not None:
            raise
        say(f"the reviews that ship with the package do not fit this model: {error.message}")
        return None
    say(f"counting tokens in the {len(dataset)} rows of {path.name}")
    return _Counted(dataset.lengths.tolist(), _kept_counts(bundle, dataset), _most_entries(manifest.task, dataset))


def _kept_counts(bundle: Bundle, dataset: Dataset) -> list[list[int]]:
    """For each reduction the tokens that each row keeps: of the model's own, in budget mode without running it."""
    task, reduction = bundle.manifest.task, bundle.manifest.reduction
    if reduction.mode == "budget":
        protected = None if task.protected_from is None else dataset.inputs[task.protected_from]
        return [budget_counts(dataset.lengths, fraction, protected).tolist() for fraction in reduction.fractions]
    with load(bundle, runtime="ort") as engine:
        return [[len(row) for row in kept] for kept in run_all(engine, dataset).kept]


def _most_entries(task: TaskSpec, dataset: Dataset) -> int | None:
    """The largest axis of the task's own; None where it has none."""
    own = own_axes(task)
    sizes = [
        size
        for spec in task.inputs
        for axis, size in zip(spec.axes, dataset.inputs[spec.name].shape, strict=True)
        if axis in own
    ]
    return max(sizes, default=None)
