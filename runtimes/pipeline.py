"""Chain the stages of a bundle: run, see how many tokens each row kept, regroup the rows, run on.

The pipeline knows nothing of a library: a `StageRunner` runs one graph and holds its tensors wherever it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.manifest import NEXT, GraphFile
from trbert_deploy.core.errors import BundleError
from trbert_deploy.core.group_limits import MAX_GROUP_TOKENS
from trbert_deploy.core.grouping import group_rows
from trbert_deploy.core.request import Request
from trbert_deploy.core.selection import Kept, budget, budget_counts, keep_mask
from trbert_deploy.core.specs import ReductionSpec
from trbert_deploy.runtimes.base import Array, Collector, Result, refuse_replay

Handle = TypeVar("Handle")

#: Splits rows into groups: stage, tokens of each row int64 [B], sequences that a row stands for.
Group = Callable[[int, npt.NDArray[np.int64], int], list[npt.NDArray[np.int64]]]


def group_by_count(
    stage: int, counts: npt.NDArray[np.int64], sequences: int, max_tokens: int = MAX_GROUP_TOKENS
) -> list[npt.NDArray[np.int64]]:
    """The `Group` where a runner has no bounds of its own: `group_rows`, at the input and between stages."""
    return group_rows(counts, sequences=sequences, max_tokens=max_tokens)


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
        reduction: of the model; a dense graph alone has none.
        group: how rows are split, at the input and between stages; by default `group_by_count`.
    """

    def __init__(
        self,
        runner: StageRunner[Handle],
        stage_inputs: Sequence[Sequence[str]],
        reduction: ReductionSpec,
        *,
        group: Group = group_by_count,
    ) -> None:
        self._runner = runner
        self._stage_inputs = stage_inputs
        self._reduction = reduction
        self._group = group

    def run(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Result:
        """Run a batch; see `Runtime.run`."""
        run = _Run(request, self._reduction, len(self._stage_inputs), want_kept, replay)
        for rows in self._group(0, request.lengths, request.sequences):
            self._descend(run, 0, rows, int(request.lengths[rows].max()), {}, [])
        return run.collector.result(run.group_sizes)

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
        request = run.request
        feeds = self._feeds(request, stage, rows, width, taken)
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
            over_original = stage == 0 or self._reduction.full_length
            gathered = width if over_original else len(cast(Array, taken["keep"]))
            mask = run.replayed(stage, rows, gathered, over_original)
            counts, carried["keep_mask"] = mask.sum(-1), mask
        if run.want_kept and mask is not None:
            masks = [*masks, mask]
        for group in self._group(stage + 1, counts, request.sequences):
            told = {"rows": group, "keep": np.zeros(int(counts[group].max()), dtype=np.int64)}
            self._descend(run, stage + 1, rows[group], width, {**carried, **told}, [mask[group] for mask in masks])

    def _feeds(
        self,
        request: Request,
        stage: int,
        rows: npt.NDArray[np.int64],
        width: int,
        taken: Mapping[str, Handle | Array],
    ) -> dict[str, Handle | Array]:
        """What a stage is given."""
        feeds = dict(taken)
        for name in self._stage_inputs[stage]:
            if name == "budget":
                feeds[name] = budget(request.lengths[rows], self._reduction.fractions[stage])
            elif name not in feeds and name not in _TOLD:
                feeds[name] = request.take(name, rows, width)
        return feeds

    def _counts(
        self, request: Request, rows: npt.NDArray[np.int64], stage: int, outputs: Mapping[str, Handle]
    ) -> npt.NDArray[np.int64]:
        """How many tokens each row kept: from the device, or in budget mode without waiting for it."""
        if not self._reduction.fractions:
            return self._runner.fetch(outputs["keep_count"]).astype(np.int64)
        protected = request.protected_from
        return budget_counts(
            request.lengths[rows], self._reduction.fractions[stage], None if protected is None else protected[rows]
        )


class FusedPipeline(Generic[Handle]):
    """Runs requests through the fused graph: rows are grouped by length at the input only.

    Args:
        runner: runs the graph, as its stage 0.
        inputs: names of the graph's inputs.
        reduction: of the model.
        group: see `StagePipeline`.
    """

    def __init__(
        self,
        runner: StageRunner[Handle],
        inputs: Sequence[str],
        reduction: ReductionSpec,
        *,
        group: Group = group_by_count,
    ) -> None:
        self._runner = runner
        self._inputs = inputs
        self._reduction = reduction
        self._group = group

    def run(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Result:
        """Run a batch; see `Runtime.run`."""
        refuse_replay(replay)
        reductions = len(self._reduction.layers)
        collector = Collector(request, reductions, want_kept, full_length=self._reduction.full_length)
        sizes = []
        for rows in self._group(0, request.lengths, request.sequences):
            width = int(request.lengths[rows].max())
            outputs = self._runner.run(0, {name: request.take(name, rows, width) for name in self._inputs})
            collector.add(rows, {one.name: self._runner.fetch(outputs[one.name]) for one in request.task.outputs})
            if want_kept:
                masks = [
                    self._runner.fetch(outputs[f"keep_mask_{number}"]).astype(np.int64)
                    for number in range(1, reductions + 1)
                ]
                collector.add_kept(rows, masks)
            sizes.append(len(rows))
        return collector.result([sizes])


class _Run:
    """One batch on its way."""

    def __init__(
        self, request: Request, reduction: ReductionSpec, num_stages: int, want_kept: bool, replay: Kept | None
    ) -> None:
        self.request = request
        self.want_kept = want_kept
        self.replay = replay
        self.collector = Collector(request, num_stages - 1, want_kept, full_length=reduction.full_length)
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


Pipeline = StagePipeline[Any] | FusedPipeline[Any]


def graphs_of(bundle: Bundle, mode: str) -> list[GraphFile]:
    """The graphs that a mode runs.

    Raises:
        BundleError: the bundle has no dense graph.
    """
    manifest = bundle.manifest
    if mode == "staged":
        return list(manifest.stages)
    if mode == "fused":
        return [manifest.fused]
    if manifest.dense is None:
        raise BundleError(f"the bundle {bundle.folder} has no dense graph", "export it again with --with-dense")
    return [manifest.dense]


def make_pipeline(bundle: Bundle, mode: str, runner: StageRunner[Any], group: Group = group_by_count) -> Pipeline:
    """The pipeline that runs a mode's graphs.

    Args:
        bundle: whose.
        mode: ``"staged"``, ``"fused"`` or ``"dense"``.
        runner: of `graphs_of` it.
        group: see `StagePipeline`.
    """
    reduction = bundle.manifest.reduction
    inputs = [graph.input_names for graph in graphs_of(bundle, mode)]
    if mode == "fused":
        return FusedPipeline(runner, inputs[0], reduction, group=group)
    return StagePipeline(runner, inputs, reduction if mode == "staged" else reduction.dense, group=group)
