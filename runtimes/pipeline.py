"""Chain the stages of a bundle: run, see how many tokens each row kept, regroup the rows, run on.

The pipeline knows nothing of a library: a `StageRunner` runs one graph and holds its tensors wherever it likes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from trbert_deploy.bundle.manifest import NEXT
from trbert_deploy.request import Request
from trbert_deploy.runtimes.base import Answer, Array, Collector
from trbert_deploy.runtimes.grouping import plan_groups
from trbert_deploy.selection import Kept, budget, keep_mask

Handle = TypeVar("Handle")

#: Inputs that tell a stage what to do, beside the caller's and those carried over.
_TOLD = ("rows", "keep", "budget")


class StageRunner(Protocol[Handle]):
    """Runs the stage graphs of a bundle."""

    def run(self, stage: int, feeds: Mapping[str, Handle | Array]) -> dict[str, Handle]:
        """Run one stage on host arrays and handles of an earlier stage; its outputs stay where they are."""
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
        regroup: whether rows are regrouped by their counts, at the input and between stages.
    """

    def __init__(
        self,
        runner: StageRunner[Handle],
        stage_inputs: Sequence[Sequence[str]],
        keep: Sequence[float],
        *,
        regroup: bool = True,
    ) -> None:
        self._runner = runner
        self._stage_inputs = stage_inputs
        self._keep = keep
        self._regroup = regroup

    def answer(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Answer:
        """Run a batch; see `Runtime.answer`. With `replay` rows keep these tokens, whatever their selectors say."""
        run = _Run(request, len(self._stage_inputs), want_kept, replay)
        for rows in self._groups(request, request.lengths):
            self._descend(run, 0, rows, int(request.lengths[rows].max()), {}, [])
        return run.collector.answer(run.group_sizes)

    def _groups(self, request: Request, counts: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        return plan_groups(counts, sequences_a_row=request.rows_a_row, regroup=self._regroup)

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
            counts = self._runner.fetch(outputs["keep_count"]).astype(np.int64)
            mask = self._runner.fetch(outputs[f"{NEXT}keep_mask"]).astype(np.int64) if run.want_kept else None
        else:
            over_original = stage == 0 or request.task.restores
            gathered = width if over_original else len(cast(Array, taken["keep"]))
            mask = run.replayed(stage, rows, gathered, over_original)
            counts, carried["keep_mask"] = mask.sum(-1), mask
        if run.want_kept and mask is not None:
            masks = [*masks, mask]
        for group in self._groups(request, counts):
            told = {"rows": group, "keep": np.zeros(int(counts[group].max()), dtype=np.int64)}
            taken = {**carried, **told}
            self._descend(run, stage + 1, rows[group], width, taken, [mask[group] for mask in masks])


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
