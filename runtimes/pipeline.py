"""Chain the stages of a bundle: run, see how many tokens each row kept, regroup the rows, run on.

The pipeline knows nothing of a library: a `StageRunner` runs one graph and holds its tensors wherever it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from trbert_deploy.bundle.manifest import NEXT
from trbert_deploy.core.grouping import plan_groups
from trbert_deploy.core.request import Request
from trbert_deploy.core.selection import Kept, budget, budget_counts, keep_mask
from trbert_deploy.runtimes.base import Answer, Array, Collector, refuse_replay
from trbert_deploy.tasks import Task

Handle = TypeVar("Handle")

#: Splits rows into groups: stage, tokens of each row int64 [B], sequences that a row stands for.
Plan = Callable[[int, npt.NDArray[np.int64], int], list[npt.NDArray[np.int64]]]


def group_by_count(stage: int, counts: npt.NDArray[np.int64], sequences: int) -> list[npt.NDArray[np.int64]]:
    """The `Plan` where a runner has no bounds of its own: `plan_groups`, at the input and between stages."""
    return plan_groups(counts, sequences_a_row=sequences)


#: Inputs that tell a stage what to do, beside the caller's and those carried over.
_TOLD = ("rows", "keep", "budget")


class StageRunner(Protocol[Handle]):
    """Runs the stage graphs of a bundle."""

    def run(self, stage: int, feeds: Mapping[str, Handle | Array]) -> dict[str, Handle]:
        """Run one stage on host arrays and handles of the stage before; its outputs stay where they are.

        They are used until the same stage is run again, and no longer.
        """
        ...

    def fetch(self, handle: Handle) -> Array:
        """Bring an output to the host."""
        ...


class StagePipeline(Generic[Handle]):
    """Runs requests through stages.

    Args:
        runner: runs one stage.
        stage_inputs: for each stage, the names of its graph's inputs.
        keep: budget fractions, one for each reduction; empty in policy mode.
        plan: how rows are split, at the input and between stages; by default `group_by_count`.
    """

    def __init__(
        self,
        runner: StageRunner[Handle],
        stage_inputs: Sequence[Sequence[str]],
        keep: Sequence[float],
        *,
        plan: Plan = group_by_count,
    ) -> None:
        self._runner = runner
        self._stage_inputs = stage_inputs
        self._keep = keep
        self._plan = plan

    def answer(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Answer:
        """Run a batch; see `Runtime.answer`."""
        run = _Run(request, len(self._stage_inputs), want_kept, replay)
        for rows in self._plan(0, request.lengths, request.rows_a_row):
            self._descend(run, 0, rows, int(request.lengths[rows].max()), {}, [])
        return run.collector.answer(run.group_sizes)

    def _descend(
        self,
        run: _Run,
        stage: int,
        rows: npt.NDArray[np.int64],
        width: int,
        taken: Mapping[str, Handle | Array],
        masks: list[npt.NDArray[np.int64]],
    ) -> None:
        """Run `stage` for some rows of the batch, and what follows.

        Args:
            run: the batch and its results so far.
            stage: which stage.
            rows: int64 [b], the rows of the batch.
            width: tokens of the widest of them.
            taken: carried tensors of the stage before, with `rows` and `keep`.
            masks: keep masks [b, M] of the reductions so far, where kept positions are wanted.
        """
        request, names = run.request, self._stage_inputs[stage]
        feeds = dict(taken)
        for name in names:
            if name not in feeds and name not in _TOLD:
                feeds[name] = request.take(name, rows, width)
        if "budget" in names:
            feeds["budget"] = budget(request.lengths[rows], self._keep[stage])
        run.group_sizes[stage].append(len(rows))
        outputs = self._runner.run(stage, feeds)
        if stage == len(self._stage_inputs) - 1:
            run.collector.add(rows, {name: self._runner.fetch(value) for name, value in outputs.items()})
            if run.want_kept:
                run.collector.add_kept(rows, masks)
            return
        carried: dict[str, Handle | Array] = {
            name.removeprefix(NEXT): value for name, value in outputs.items() if name.startswith(NEXT)
        }
        if run.replay is None:
            counts = self._counts(request, rows, stage, outputs)
            mask = self._runner.fetch(outputs[f"{NEXT}keep_mask"]).astype(np.int64) if run.want_kept else None
        else:
            over_original = stage == 0 or request.task.restores
            gathered = width if over_original else len(cast(Array, taken["keep"]))
            mask = run.replayed(stage, rows, gathered, over_original)
            counts, carried["keep_mask"] = mask.sum(-1), mask
        if run.want_kept and mask is not None:
            masks = [*masks, mask]
        for group in self._plan(stage + 1, counts, request.rows_a_row):
            told = {"rows": group, "keep": np.zeros(int(counts[group].max()), dtype=np.int64)}
            taken = {**carried, **told}
            self._descend(run, stage + 1, rows[group], width, taken, [mask[group] for mask in masks])

    def _counts(
        self, request: Request, rows: npt.NDArray[np.int64], stage: int, outputs: Mapping[str, Handle]
    ) -> npt.NDArray[np.int64]:
        """How many tokens each row kept: from the device, or in budget mode without waiting for it."""
        if not self._keep:
            return self._runner.fetch(outputs["keep_count"]).astype(np.int64)
        ends = request.arrays["question_ends"][rows] if request.task.multiple_choice else None
        return budget_counts(request.lengths[rows], self._keep[stage], ends)


class FusedPipeline(Generic[Handle]):
    """Runs requests through the fused graph: rows are grouped by length at the input only.

    Args:
        runner: runs the graph, as its stage 0.
        inputs: names of the graph's inputs.
        task: the model's.
        num_reductions: how many keep masks the graph gives.
        plan: see `StagePipeline`.
    """

    def __init__(
        self,
        runner: StageRunner[Handle],
        inputs: Sequence[str],
        task: Task,
        num_reductions: int,
        *,
        plan: Plan = group_by_count,
    ) -> None:
        self._runner = runner
        self._inputs = inputs
        self._task = task
        self._num_reductions = num_reductions
        self._plan = plan

    def answer(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Answer:
        """Run a batch; see `Runtime.answer`."""
        refuse_replay(replay)
        collector = Collector(request, self._num_reductions, want_kept)
        sizes = []
        for rows in self._plan(0, request.lengths, request.rows_a_row):
            width = int(request.lengths[rows].max())
            outputs = self._runner.run(0, {name: request.take(name, rows, width) for name in self._inputs})
            answers = {output.name: self._runner.fetch(outputs[output.name]) for output in self._task.outputs}
            collector.add(rows, answers)
            if want_kept:
                masks = [
                    self._runner.fetch(outputs[f"keep_mask_{index + 1}"]).astype(np.int64)
                    for index in range(self._num_reductions)
                ]
                collector.add_kept(rows, masks)
            sizes.append(len(rows))
        return collector.answer([sizes])


class _Run:
    """One batch on its way."""

    def __init__(self, request: Request, num_stages: int, want_kept: bool, replay: Kept | None) -> None:
        self.request = request
        self.want_kept = want_kept
        self.replay = replay
        self.collector = Collector(request, num_stages - 1, want_kept)
        self.group_sizes: list[list[int]] = [[] for _ in range(num_stages)]

    def replayed(
        self, reduction: int, rows: npt.NDArray[np.int64], width: int, over_original: bool
    ) -> npt.NDArray[np.int64]:
        """Keep masks [b, width] of these rows at a reduction, from the kept sets that are replayed."""
        assert self.replay is not None
        kept = self.replay[reduction]
        return np.stack(
            [keep_mask(kept[row], None if over_original else self.replay[reduction - 1][row], width) for row in rows]
        )
