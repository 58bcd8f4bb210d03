"""Which shapes to build engines for: quantiles of real lengths and kept counts, or what the user says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from trbert_deploy.bundle import Bundle
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.selection import budget, budget_counts
from trbert_deploy.runtimes.tensorrt.buckets import Grid, doubling_buckets, parse_buckets, quantile_buckets
from trbert_deploy.tasks import SEQUENCE_CLASSIFICATION

#: Options, sentences or candidates of a row at most, where no data says: as RACE has options, HotpotQA sentences.
_OPTIONS, _ITEMS = 4, 64


def choose_grid(
    bundle: Bundle,
    *,
    buckets: str | None = None,
    data: Path | None = None,
    rows: int = 32,
    items: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Grid:
    """Choose the shapes.

    Args:
        bundle: whose engines.
        buckets: see `parse_buckets`; where given, no data is read.
        data: JSON lines to count tokens in; by default the calibration reviews where the task is sequence
            classification and the bundle has a tokenizer, else there is no data and buckets double from 32 on.
        rows: a group has so many at most.
        items: a row has so many options, sentences or candidates at most; by default as many as the data shows.
        say: is given a line on where the buckets come from.

    Raises:
        InputError: the buckets or the data cannot be used.
        MissingExtraError: kept counts of a policy bundle need ONNX Runtime.
    """
    manifest = bundle.manifest
    limit, reductions = manifest.task.max_length, len(manifest.reduction.layers)
    usual = _OPTIONS if manifest.task.multiple_choice else _ITEMS
    if buckets is not None:
        lists = parse_buckets(buckets, limit, reductions)
        return Grid(lengths=lists[0], kept=lists[1:], rows=rows, items=items or usual)
    largest = [limit] * reductions
    if manifest.reduction.mode == "budget" and not manifest.task.multiple_choice:
        largest = [int(budget(np.array([limit]), fraction)[0]) for fraction in manifest.reduction.fractions]
    counted = _count(bundle, data, say)
    if counted is None:
        say("no data: buckets double from 32 tokens on (give real rows with --data, or --buckets)")
        kept = tuple(doubling_buckets(most) for most in largest)
        return Grid(lengths=doubling_buckets(limit), kept=kept, rows=rows, items=items or usual)
    lengths, counts, seen = counted
    kept = tuple(quantile_buckets(one, most) for one, most in zip(counts, largest, strict=True))
    return Grid(lengths=quantile_buckets(lengths, limit), kept=kept, rows=rows, items=items or seen or usual)


def _count(
    bundle: Bundle, data: Path | None, say: Callable[[str], None]
) -> tuple[list[int], list[list[int]], int] | None:
    """Lengths of rows, for each reduction their kept counts, and the most items of a row (0: the task has none)."""
    from trbert_deploy.api import load
    from trbert_deploy.bench.quality import answer_all
    from trbert_deploy.bench.workload import read_dataset
    from trbert_deploy.calib_data import calibration_file

    manifest = bundle.manifest
    path = data or calibration_file()
    if data is None and not (manifest.task is SEQUENCE_CLASSIFICATION and manifest.tokenizer is not None):
        return None
    try:
        dataset = read_dataset(bundle, path)
    except InputError as error:
        if data is not None:
            raise
        say(f"the reviews that ship with the package do not fit this model: {error.message}")
        return None
    say(f"counting tokens in the {len(dataset)} rows of {path.name}")
    lengths = dataset.lengths
    if manifest.reduction.mode == "budget":
        ends = dataset.inputs.get("question_ends")
        counts = [budget_counts(lengths, fraction, ends).tolist() for fraction in manifest.reduction.fractions]
    else:
        with load(bundle, runtime="ort") as engine:
            kept = answer_all(engine, dataset).kept
        counts = [[len(row) for row in reduction] for reduction in kept]
    items = dataset.sequences if manifest.task.multiple_choice else dataset.items
    return lengths.tolist(), counts, items
