"""Run all rows through the backends whose outputs differ by design or by rounding, and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trbert_deploy.bench.backends import TORCH, Backends
from trbert_deploy.bench.labels import chooses_a_class, no_class
from trbert_deploy.bench.operations import flops_of
from trbert_deploy.bench.outputs import Outputs, run_all
from trbert_deploy.bench.predictions import predictions
from trbert_deploy.bench.quality import Accuracy, Agreement, KeptAgreement, Quality, Replayed
from trbert_deploy.bench.workload import Dataset
from trbert_deploy.bundle import Manifest
from trbert_deploy.core.specs import TaskSpec

if TYPE_CHECKING:
    from trbert_deploy.model import TRBertOutput
    from trbert_deploy.runtimes.torch.reference import ReferenceRuntime

Progress = Callable[[str, float], None]


def measure_quality(backends: Backends, dataset: Dataset, progress: Progress) -> tuple[Quality, list[str]]:
    """Compare the bundle with its baselines.

    Args:
        backends: that run the rows.
        dataset: the rows.
        progress: is told what is going on, and the fraction of it that is done.

    Returns:
        The result, and notes on what could not be measured.

    Raises:
        TRBertError: an output is not finite.
    """
    subject, reference = backends.subject, TORCH if backends.reference is not None else None
    names = [subject, backends.accuracy_baseline, *backends.beside, reference]
    outputs = {}
    with _noting_margins(backends.reference) as margins:
        for name in dict.fromkeys(name for name in names if name is not None):
            outputs[name] = _run_all(backends, name, dataset, progress)
    manifest = backends.engines[subject].manifest
    accuracy, notes = _accuracy(backends, manifest, dataset, outputs)
    if reference is None:
        notes.append("no agreement with the reference: there is no PyTorch backend")
    elif reference == subject:
        notes.append("no agreement with the reference: the bundle ran on the reference itself")
    agreements: dict[str, Agreement] = {}
    if reference is not None:
        nearest = [min(batches) for batches in zip(*margins, strict=True)]
        for name in dict.fromkeys((subject, *backends.beside)):
            if name == reference:
                continue
            agreement = _agreement(manifest.task, outputs[name], outputs[reference], nearest, dataset.lengths)
            if backends.options.replay_selection:
                progress(f"{name} with the reference's kept sets", 0.0)
                told = run_all(backends.engines[name], dataset, replay=outputs[reference].kept)
                replayed = Replayed(*_differences(manifest.task, told, outputs[reference]))
                agreement = replace(agreement, replayed=replayed)
            agreements[name] = agreement
    flops = flops_of(manifest.costs, dataset, np.arange(len(dataset)), outputs[subject].kept)
    own = agreements.pop(subject, None)
    return Quality(dataset.name, len(dataset), accuracy, own, flops, agreements), notes


def _run_all(backends: Backends, name: str, dataset: Dataset, progress: Progress) -> Outputs:
    phase = f"running {name} on {len(dataset)} rows"
    return run_all(backends.engines[name], dataset, lambda done: progress(phase, done / len(dataset)))


def _accuracy(
    backends: Backends, manifest: Manifest, dataset: Dataset, outputs: dict[str, Outputs]
) -> tuple[Accuracy | None, list[str]]:
    task = manifest.task
    if not chooses_a_class(task):
        return None, [f"no accuracy: {no_class(task)}"]
    labelled = [row for row, label in enumerate(dataset.labels) if label is not None]
    if not labelled:
        return None, ["no accuracy: the data has no labels"]
    notes = []
    if len(labelled) < len(dataset):
        notes.append(f"accuracy counts the {len(labelled)} of {len(dataset)} rows that have a label")
    labels = np.array([dataset.labels[row] for row in labelled], dtype=np.int64)
    predicted = {
        name: np.array([predictions(task, given.rows[row])[0] for row in labelled]) for name, given in outputs.items()
    }
    percent = {name: 100 * float(np.mean(chosen == labels)) for name, chosen in predicted.items()}
    baseline = backends.accuracy_baseline
    drop = percent[baseline] - percent[backends.subject] if baseline else None
    accuracy = Accuracy(len(labelled), percent, baseline, drop)
    try:
        from trbert_deploy.class_metrics import class_metrics, macro_f1, majority
    except ImportError:
        return accuracy, [*notes, "no macro F1: scikit-learn is not installed"]
    names = manifest.model.labels
    return replace(
        accuracy,
        macro_f1={name: macro_f1(labels, chosen) for name, chosen in predicted.items()},
        classes=class_metrics(labels, predicted[backends.subject], names),
        majority=majority(labels, names),
    ), notes


def _agreement(
    task: TaskSpec, given: Outputs, wanted: Outputs, nearest: Sequence[float], lengths: npt.NDArray[np.int64]
) -> Agreement:
    same, furthest = _differences(task, given, wanted)
    before = [lengths.tolist(), *([len(kept) for kept in reduction] for reduction in wanted.kept)]
    reductions = [
        _kept_agreement(mine, theirs, margin, sum(reached))
        for mine, theirs, margin, reached in zip(given.kept, wanted.kept, nearest, before, strict=False)
    ]
    return Agreement(len(given.rows), same, furthest, reductions)


def _differences(task: TaskSpec, given: Outputs, wanted: Outputs) -> tuple[float | None, float]:
    """Percent of rows with the same predictions, None where there are none; the largest difference of an output."""
    pairs = list(zip(given.rows, wanted.rows, strict=True))
    chosen = [(predictions(task, mine), predictions(task, theirs)) for mine, theirs in pairs]
    furthest = max(
        float(np.abs(mine[name] - theirs[name]).max(initial=0.0)) for mine, theirs in pairs for name in theirs
    )
    if not any(theirs for _, theirs in chosen):
        return None, furthest
    return 100 * float(np.mean([mine == theirs for mine, theirs in chosen])), furthest


def flips_of(given: Sequence[npt.NDArray[np.int64]], wanted: Sequence[npt.NDArray[np.int64]]) -> list[int]:
    """For each row the tokens that only one of the two keeps."""
    return [len(np.setxor1d(mine, theirs)) for mine, theirs in zip(given, wanted, strict=True)]


def _kept_agreement(
    given: Sequence[npt.NDArray[np.int64]], wanted: Sequence[npt.NDArray[np.int64]], nearest: float, reached: int
) -> KeptAgreement:
    flips = flips_of(given, wanted)
    either = [len(np.union1d(mine, theirs)) for mine, theirs in zip(given, wanted, strict=True)]
    jaccards = [(union - flip) / union for union, flip in zip(either, flips, strict=True)]
    return KeptAgreement(
        float(np.mean(jaccards)),
        sum(flips),
        sum(flip > 0 for flip in flips),
        100 * sum(flips) / reached,
        nearest if np.isfinite(nearest) else None,
    )


@contextmanager
def _noting_margins(reference: ReferenceRuntime | None) -> Iterator[list[list[float]]]:
    """While inside, for every batch that the reference runs and each reduction the smallest margin of a row.

    See `trbert_deploy.model.margin`.
    """
    found: list[list[float]] = []
    if reference is None:
        yield found
        return
    from trbert_deploy.model.margin import selection_margins

    def note(model: object, inputs: object, output: TRBertOutput) -> None:
        found.append([float(margin.min()) for margin in selection_margins(output)])

    hook = reference.model.register_forward_hook(note)
    try:
        yield found
    finally:
        hook.remove()
