"""What a run is going to do: its parts, their steps, and how their work compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trbert_deploy.core.costs import Costs, RowTokens, exact_flops
from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.loop import Schedule
from trbert_deploy.training.run_folder import RunFolder
from trbert_deploy.training.time_left import Part

#: Rows that a model is looked at with between its two phases.
CHECKED_ROWS = 256

FINE_TUNING, TEACHER, TEACHER_OUTPUTS = "fine-tuning", "evaluating teacher", "the teacher's outputs"


def selectors_part(alpha: float) -> str:
    """Name of step (c)."""
    return f"alpha {alpha:g} selectors"


def check_part(alpha: float) -> str:
    """Name of the look at what step (c) gave."""
    return f"checking alpha {alpha:g}"


def joint_part(alpha: float) -> str:
    """Name of step (d)."""
    return f"alpha {alpha:g} joint"


def evaluation_part(alpha: float) -> str:
    """Name of the evaluation of what step (d) gave."""
    return f"evaluating alpha {alpha:g}"


@dataclass(frozen=True)
class Schedules:
    """How long and how hard each phase trains."""

    fine_tuning: Schedule
    selectors: Schedule
    joint: Schedule

    @classmethod
    def of(cls, arguments: TrainingArguments) -> Schedules:
        """As asked for."""
        return cls(
            Schedule(arguments.fine_tune_epochs, arguments.fine_tune_learning_rate),
            Schedule(arguments.selector_epochs, arguments.selector_learning_rate),
            Schedule(arguments.joint_epochs, arguments.joint_learning_rate),
        )


@dataclass(frozen=True)
class Work:
    """FLOPs of a row on average, roughly: half of the tokens are taken to go on at each reduction.

    Attributes:
        dense: of the dense model.
        reduced: of the reducing one.
    """

    dense: float
    reduced: float

    @classmethod
    def of(cls, costs: Costs, rows: TokenizedExamples) -> Work:
        """Of a model with reductions and its data."""
        length = round(float(np.mean(rows.lengths)))
        kept = tuple(-(-length // 2 ** (place + 1)) for place in range(len(costs.reduction_layers)))
        whole = RowTokens(length, kept)
        return cls(exact_flops(costs, whole.dense), exact_flops(costs, whole))


def plan(
    arguments: TrainingArguments,
    alphas: Sequence[float],
    rows: TokenizedExamples,
    held_out: int,
    costs: Costs,
    folder: RunFolder,
    *,
    fine_tune: bool,
    processes: int,
) -> list[Part]:
    """The parts of a run, in order.

    Args:
        arguments: of the run.
        alphas: ascending.
        rows: to train on.
        held_out: rows to evaluate on.
        costs: of the model with reductions.
        folder: of the run.
        fine_tune: whether the dense model is fitted first.
        processes: that train together.

    Raises:
        InputError: the rows do not fill a batch.
    """
    work, schedules = Work.of(costs, rows), Schedules.of(arguments)
    batch, samples = arguments.batch_size, arguments.samples

    def phase(name: str, schedule: Schedule, row: float, result: Path) -> Part:
        return Part(name, schedule.sampler(rows, arguments, processes).steps, "steps", batch * row, result)

    # a backward pass costs about two forward ones; selectors alone need none, the importance a short one
    selectors = samples * work.reduced + 2 * arguments.imitation * work.dense
    parts = [phase(FINE_TUNING, schedules.fine_tuning, 3 * work.dense, folder.teacher)] if fine_tune else []
    parts.append(Part(TEACHER, held_out, "rows", work.dense))
    for alpha in alphas:
        model, checked = folder.model(alpha), min(CHECKED_ROWS, held_out)
        parts.append(phase(selectors_part(alpha), schedules.selectors, selectors, folder.selectors(alpha)))
        parts.append(Part(check_part(alpha), checked, "rows", work.reduced, model))
        if alpha == alphas[0]:
            parts.append(Part(TEACHER_OUTPUTS, len(rows), "rows", work.dense, folder.teacher_outputs))
        parts.append(phase(joint_part(alpha), schedules.joint, 3 * samples * work.reduced, model))
        parts.append(Part(evaluation_part(alpha), held_out, "rows", work.reduced))
    return parts
