"""What the speed costs: accuracy, agreement with the reference, kept sets, operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trbert_deploy.api import Engine
from trbert_deploy.bench.arms import Arms
from trbert_deploy.bench.report import Accuracy, Agreement, Flops, KeptAgreement, Quality, Replayed
from trbert_deploy.bench.workload import Dataset
from trbert_deploy.core.flops import ModelShape, RowTokens, exact_flops, upstream_flops
from trbert_deploy.core.selection import Kept
from trbert_deploy.tasks import SEQUENCE_CLASSIFICATION, Task

if TYPE_CHECKING:
    from trbert_deploy.model import TRBertOutput
    from trbert_deploy.runtimes.torch.reference import ReferenceRuntime

_BATCH = 32

RowOutputs = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Answers:
    """One arm's answers to all rows.

    Attributes:
        outputs: for each row its outputs, those over tokens cut to the row's length.
        kept: [reduction][row], kept original positions.
    """

    outputs: list[RowOutputs]
    kept: Kept


def answer_all(
    engine: Engine,
    dataset: Dataset,
    on_rows: Callable[[int], None] = lambda done: None,
    replay: Kept | None = None,
) -> Answers:
    """Run every row once, rows of like lengths together.

    Args:
        engine: what answers.
        dataset: the rows.
        on_rows: called after each batch with the number of rows done.
        replay: where given, for each reduction and row what it keeps, whatever the engine would.
    """
    task, lengths = engine.manifest.task, dataset.lengths
    order = np.argsort(lengths, kind="stable")
    outputs: list[RowOutputs] = [{} for _ in order]
    kept: Kept = []
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        if replay is None:
            answer = engine.run(**dataset.batch(rows), return_selection=True)
        else:
            answer = engine.replay([[kept_rows[row] for row in rows] for kept_rows in replay], **dataset.batch(rows))
        kept = kept or [[np.empty(0, dtype=np.int64)] * len(order) for _ in answer.selection or []]
        for place, row in enumerate(rows):
            for name, array in answer.items():
                part = array[place]
                outputs[row][name] = part[: lengths[row]] if task.output(name).per_token else part
            for reduction, positions in enumerate(answer.selection or []):
                kept[reduction][row] = positions[place]
        on_rows(min(start + _BATCH, len(order)))
    return Answers(outputs, kept)


def measure_quality(
    arms: Arms, dataset: Dataset, progress: Callable[[str, float], None], *, replay: bool = False
) -> tuple[Quality, list[str]]:
    """Run all rows through the arms whose answers differ by design or by rounding, and compare.

    Args:
        arms: what answers.
        dataset: the rows.
        progress: is told what is going on, and the fraction of it that is done.
        replay: whether to compare the bundle with the reference once more with the reference's kept sets.

    Returns:
        The result, and notes on what could not be measured.
    """
    names = [arms.subject, *([arms.accuracy_baseline] if arms.accuracy_baseline else []), *arms.beside]
    reference = "torch" if arms.reference is not None else None
    if reference and reference not in names:
        names.append(reference)
    answers = {}
    with _noting_margins(arms.reference) as margins:
        for name in names:
            phase = f"answers of {name} to {len(dataset)} rows"
            answers[name] = answer_all(
                arms.engines[name],
                dataset,
                lambda done, phase=phase: progress(phase, done / len(dataset)),  # type: ignore[misc]
            )
    engine = arms.engines[arms.subject]
    task, shape = engine.manifest.task, ModelShape.of(engine.manifest)
    accuracy, notes = _accuracy(arms, task, dataset, answers)
    agreements: dict[str, Agreement] = {}
    if reference is None:
        notes.append("no agreement with the reference: there is no PyTorch arm")
    elif reference == arms.subject:
        notes.append("no agreement with the reference: the bundle ran on the reference itself")
    compared = [name for name in (arms.subject, *arms.beside) if name != reference]
    if reference is not None:
        nearest = [min(batches) for batches in zip(*margins, strict=True)]
        for name in compared:
            agreement = _agreement(task, answers[name], answers[reference], nearest, dataset.lengths)
            if replay:
                progress(f"answers of {name} with the reference's kept sets", 0.0)
                replayed = answer_all(arms.engines[name], dataset, replay=answers[reference].kept)
                same, furthest = _differences(task, replayed, answers[reference])
                agreement = replace(agreement, replayed=Replayed(same, furthest))
            agreements[name] = agreement
    flops = flops_of(shape, dataset, np.arange(len(dataset)), answers[arms.subject].kept)
    own = agreements.pop(arms.subject, None)
    return Quality(dataset.name, len(dataset), accuracy, own, flops, agreements), notes


def flops_of(shape: ModelShape, dataset: Dataset, rows: npt.NDArray[np.int64], kept: Kept) -> Flops:
    """Operations of some rows.

    Args:
        shape: the model's.
        dataset: where the rows come from.
        rows: int64, numbers of the rows.
        kept: [reduction][row of `rows`], kept positions.
    """
    lengths = dataset.lengths[rows]
    counts = [[len(positions) for positions in reduction] for reduction in kept]
    tokens = [
        RowTokens(int(length), tuple(count[place] for count in counts), dataset.sequences, dataset.items)
        for place, length in enumerate(lengths)
    ]
    upstream, exact = (
        [
            sum(of(shape, row) for row in counted) / len(counted) / 1e6
            for counted in (tokens, [row.dense for row in tokens])
        ]
        for of in (upstream_flops, exact_flops)
    )
    return Flops(
        upstream_mflops=upstream[0],
        upstream_dense_mflops=upstream[1],
        upstream_ratio=upstream[1] / upstream[0],
        exact_mflops=exact[0],
        exact_dense_mflops=exact[1],
        exact_ratio=exact[1] / exact[0],
        kept_fractions=[float(np.mean(np.asarray(count) / lengths)) for count in counts],
    )


def predictions(task: Task, outputs: RowOutputs) -> list[int]:
    """Every prediction of a row: the arg max along each output's last axis (classes, options or tokens)."""
    found: list[int] = []
    for output in task.outputs:
        found += np.atleast_1d(outputs[output.name].argmax(-1)).reshape(-1).tolist()
    return found


def _accuracy(
    arms: Arms, task: Task, dataset: Dataset, answers: dict[str, Answers]
) -> tuple[Accuracy | None, list[str]]:
    if task is not SEQUENCE_CLASSIFICATION:
        return None, [f"no accuracy: it is measured for {SEQUENCE_CLASSIFICATION.name}, not for {task.name}"]
    labelled = [row for row, label in enumerate(dataset.labels) if label is not None]
    if not labelled:
        return None, ["no accuracy: the data has no labels"]
    notes = []
    if len(labelled) < len(dataset):
        notes.append(f"accuracy counts the {len(labelled)} of {len(dataset)} rows that have a label")
    percent = {
        name: 100
        * float(np.mean([predictions(task, given.outputs[row])[0] == dataset.labels[row] for row in labelled]))
        for name, given in answers.items()
    }
    baseline = arms.accuracy_baseline
    drop = percent[baseline] - percent[arms.subject] if baseline else None
    return Accuracy(len(labelled), percent, baseline, drop), notes


def _agreement(
    task: Task,
    given: Answers,
    wanted: Answers,
    nearest: Sequence[float],
    lengths: npt.NDArray[np.int64],
) -> Agreement:
    same, furthest = _differences(task, given, wanted)
    before = [lengths.tolist(), *([len(kept) for kept in reduction] for reduction in wanted.kept)]
    reductions = [
        _kept_agreement(mine, theirs, margin, sum(reached))
        for mine, theirs, margin, reached in zip(given.kept, wanted.kept, nearest, before, strict=False)
    ]
    return Agreement(len(given.outputs), same, furthest, reductions)


def _differences(task: Task, given: Answers, wanted: Answers) -> tuple[float, float]:
    """Percent of rows with the same predictions, and the largest difference of an output."""
    pairs = list(zip(given.outputs, wanted.outputs, strict=True))
    same = [predictions(task, mine) == predictions(task, theirs) for mine, theirs in pairs]
    furthest = max(
        float(np.abs(mine[name] - theirs[name]).max(initial=0.0)) for mine, theirs in pairs for name in theirs
    )
    return 100 * float(np.mean(same)), furthest


def flips_of(given: Sequence[npt.NDArray[np.int64]], wanted: Sequence[npt.NDArray[np.int64]]) -> list[int]:
    """For each row the tokens that only one of the two keeps."""
    return [len(np.setxor1d(mine, theirs)) for mine, theirs in zip(given, wanted, strict=True)]


def _kept_agreement(
    given: Sequence[npt.NDArray[np.int64]],
    wanted: Sequence[npt.NDArray[np.int64]],
    nearest: float,
    reached: int,
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
    """While inside, for every batch that the reference answers and each reduction the smallest margin of a row.

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
