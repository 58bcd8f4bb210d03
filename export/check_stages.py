"""Check each stage alone, on what the reference hands it, so that a difference has a stage's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.manifest import NEXT
from trbert_deploy.core.errors import CheckFailedError
from trbert_deploy.core.request import Request
from trbert_deploy.export.check_result import REPORT, CheckResult
from trbert_deploy.model import Decision, TRBertPreTrainedModel, by_budget, by_policy, run_stage
from trbert_deploy.runtimes.base import Array
from trbert_deploy.runtimes.onnxruntime.sessions import SessionRunner
from trbert_deploy.runtimes.pipeline import StagePipeline


def check_stages(
    bundle: Bundle,
    sessions: SessionRunner,
    model: TRBertPreTrainedModel,
    requests: Sequence[Request],
    result: CheckResult,
) -> None:
    """Run every stage on both sides.

    Args:
        bundle: whose.
        sessions: on its stages.
        model: the reference.
        requests: what to run.
        result: what is found goes here.

    Raises:
        CheckFailedError: a kept set or a tensor differs from the reference's; says which stage and by how much.
    """
    manifest = bundle.manifest
    runner = _BothSides(bundle, sessions, model, result)
    pipeline = StagePipeline(runner, [graph.input_names for graph in manifest.stages], manifest.reduction)
    for request in requests:
        pipeline.run(request, want_kept=False)


class _BothSides:
    """A stage runner that runs every stage on both sides, on the same inputs, and goes on with the reference's."""

    def __init__(
        self, bundle: Bundle, sessions: SessionRunner, model: TRBertPreTrainedModel, result: CheckResult
    ) -> None:
        self._sessions = sessions
        self._manifest = bundle.manifest
        self._model = model
        self._result = result

    def run(self, stage: int, feeds: Mapping[str, Tensor | Array]) -> dict[str, Tensor]:
        """See `StageRunner.run`."""
        graph = self._manifest.stages[stage]
        budgeted = self._manifest.reduction.mode == "budget"
        tensors = {name: torch.as_tensor(value) for name, value in feeds.items()}
        with torch.inference_mode():
            found = run_stage(self._model, stage, tensors, by_budget if budgeted else by_policy)
        last = found.decision is None
        wanted = {name if last or name == "keep_count" else NEXT + name: one for name, one in found.tensors.items()}
        outputs = self._sessions.run(stage, {name: self._as_taken(tensors[name]) for name in graph.input_names})
        given = {name: self._sessions.fetch(outputs[name]) for name in wanted}
        for name, tensor in wanted.items():
            if name not in (f"{NEXT}keep_mask", "keep_count"):
                self._result.compare(graph.file, name, given[name], tensor.numpy())
        if found.decision is not None:
            near_tie = self._result.tolerance.near_tie
            _check_masks(graph.file, given, found.tensors["keep_mask"], found.decision, budgeted, near_tie)
        return wanted

    def _as_taken(self, tensor: Tensor) -> Array:
        """The reference's float32 states are float16 to graphs of that precision."""
        half = tensor.is_floating_point() and self._manifest.precision == "fp16"
        array: Array = tensor.numpy()
        return array.astype(np.float16) if half else array

    def fetch(self, handle: Tensor) -> Array:
        """See `StageRunner.fetch`."""
        array: Array = handle.numpy()
        return array


def _check_masks(
    file: str, given: Mapping[str, Array], wanted: Tensor, decision: Decision, budgeted: bool, near_tie: float
) -> None:
    """Kept sets are equal but for tokens whose scores lie within `near_tie` of the threshold, or of each other."""
    mask = torch.from_numpy(given[f"{NEXT}keep_mask"])
    if mask.shape != wanted.shape or not torch.equal(mask.sum(-1), torch.from_numpy(given["keep_count"])):
        raise CheckFailedError(f"{file}: keep_mask and keep_count do not fit the reference", REPORT)
    for row in (mask != wanted).any(-1).nonzero().flatten().tolist():
        changed = mask[row] != wanted[row]
        scores = decision.scores[row][changed]
        spread = float(scores.max() - scores.min()) if budgeted else float(scores.abs().max())
        if spread >= near_tie or not decision.free[row][changed].all():
            raise CheckFailedError(
                f"{file}: keeps other tokens than the reference, though their logits lie {spread:.1e} apart", REPORT
            )
