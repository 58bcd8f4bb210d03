"""Predictions, kept fractions and FLOPs of a model on labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from trbert_deploy.core.costs import Costs, RowTokens, exact_flops
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.objective import objective_of

Outputs = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Evaluation:
    """What a model made of labelled rows.

    Attributes:
        outputs: the task's, by name, float32 [rows, ...]; those over tokens padded to the longest row.
        predicted: int64 [rows, ...], as the labels are.
        kept: int64 [rows, reductions], tokens that each reduction let go on.
        labels: int64 [rows, ...].
        lengths: int64 [rows], tokens.
        costs: what the model's FLOPs follow from.
    """

    outputs: Outputs
    predicted: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    costs: Costs

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which rows' predictions are their labels, bool [rows]."""
        same = np.reshape(self.predicted == self.labels, (len(self.labels), -1))
        return np.asarray(same.all(axis=1), dtype=np.bool_)

    @property
    def accuracy(self) -> float:
        """Percent."""
        return float(self.right.mean() * 100)

    @property
    def kept_fractions(self) -> list[float]:
        """For each reduction the mean over rows of the fraction of a row's own tokens."""
        return [float(fraction) for fraction in (self.kept / self.lengths[:, None]).mean(0)]

    @property
    def flops(self) -> float:
        """Exact FLOPs of a row, on average."""
        return float(np.mean([exact_flops(self.costs, row) for row in self._tokens()]))

    @property
    def flops_ratio(self) -> float:
        """Exact FLOPs of the same rows without reduction, over `flops`."""
        dense = np.mean([exact_flops(self.costs, row.dense) for row in self._tokens()])
        return float(dense / self.flops)

    def _tokens(self) -> list[RowTokens]:
        return [
            RowTokens(length, tuple(kept))
            for length, kept in zip(self.lengths.tolist(), self.kept.tolist(), strict=True)
        ]


@torch.inference_mode()
def evaluate(
    model: TRBertPreTrainedModel,
    examples: TokenizedExamples,
    *,
    keep: Sequence[float] | None = None,
    batch_size: int = 32,
    on_rows: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Run all rows through a model, in evaluation mode and in the model's own precision.

    Args:
        model: of a task that is trained, on any device.
        examples: labelled rows.
        keep: budget fractions, an empty list for policy mode; by default what the model's configuration says.
        batch_size: rows that run together; no output depends on it.
        on_rows: called after each batch with the number of rows done.

    Raises:
        CheckpointError: the task is not trained.
    """
    objective, training = objective_of(model), model.training
    model.eval()
    outputs: Outputs = {}
    predicted = np.zeros_like(examples.labels)
    kept = np.zeros((len(examples), model.num_stages - 1), dtype=np.int64)
    done = 0
    for batch in examples.in_order(batch_size):  # the longest first
        rows = batch.rows.numpy()
        output = model(**batch.to(model.device).inputs, keep=keep)
        predicted[rows] = objective.predicted(output.outputs).cpu().numpy()
        for name, tensor in output.outputs.items():
            some = tensor.float().cpu().numpy()
            if name not in outputs:
                padding = model.spec.output(name).padding
                outputs[name] = np.full((len(examples), *some.shape[1:]), padding, dtype=np.float32)
            outputs[name][rows, : some.shape[1]] = some
        for reduction, mask in enumerate(output.keep_masks):
            kept[rows, reduction] = mask.sum(-1).cpu().numpy()
        done += len(rows)
        on_rows(done)
    model.train(training)
    return Evaluation(outputs, predicted, kept, examples.labels, examples.lengths, model.costs)
