"""Accuracy, kept fractions and FLOPs of a model on labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from trbert_deploy.core.flops import ModelShape, RowTokens, exact_flops
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.training.data import TokenizedExamples


@dataclass(frozen=True)
class Evaluation:
    """A model's answers to labelled rows.

    Attributes:
        logits: float32 [rows, labels].
        kept: int64 [rows, reductions], tokens that each reduction let go on.
        labels: int64 [rows].
        lengths: int64 [rows], tokens.
        shape: the model's, for FLOPs.
    """

    logits: npt.NDArray[np.float32]
    kept: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    shape: ModelShape

    @property
    def accuracy(self) -> float:
        """Percent."""
        return float((self.logits.argmax(-1) == self.labels).mean() * 100)

    @property
    def kept_fractions(self) -> list[float]:
        """For each reduction the mean over rows of the fraction of a row's own tokens."""
        return [float(fraction) for fraction in (self.kept / self.lengths[:, None]).mean(0)]

    @property
    def flops(self) -> float:
        """Exact FLOPs of a row, on average."""
        return float(np.mean([exact_flops(self.shape, row) for row in self._tokens()]))

    @property
    def flops_ratio(self) -> float:
        """Exact FLOPs of the same rows without reduction, over `flops`."""
        dense = np.mean([exact_flops(self.shape, row.dense) for row in self._tokens()])
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
    """Answer all rows, in evaluation mode and in the model's own precision.

    Args:
        model: of sequence classification, on any device.
        examples: labelled rows.
        keep: budget fractions, an empty list for policy mode; by default what the model's configuration says.
        batch_size: rows that run together; no answer depends on it.
        on_rows: called after each batch with the number of rows done.
    """
    training = model.training
    model.eval()
    logits = np.zeros((len(examples), model.config.num_labels), dtype=np.float32)
    kept = np.zeros((len(examples), model.num_stages - 1), dtype=np.int64)
    done = 0
    for batch in examples.in_order(batch_size):
        rows = batch.rows.numpy()
        output = model(**batch.to(model.device).inputs, keep=keep)
        logits[rows] = output.outputs["logits"].float().cpu().numpy()
        for reduction, mask in enumerate(output.keep_masks):
            kept[rows, reduction] = mask.sum(-1).cpu().numpy()
        done += len(rows)
        on_rows(done)
    model.train(training)
    return Evaluation(logits, kept, examples.labels, examples.lengths, shape_of(model))


def shape_of(model: TRBertPreTrainedModel) -> ModelShape:
    """What FLOPs depend on."""
    config, backbone = model.config, model.config.backbone
    return ModelShape(
        model.task,
        backbone.num_hidden_layers,
        backbone.hidden_size,
        config.intermediate_size,
        config.selector_size,
        config.num_labels,
        tuple(config.reduction_layers),
    )
