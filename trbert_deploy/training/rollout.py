"""Selections drawn from the policy, and what the model answers under each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trbert_deploy.model import Scores, TRBertPreTrainedModel, run_stages
from trbert_deploy.model.compaction import keep_by_budget


@dataclass(frozen=True)
class Rollout:
    """K selections for each of B rows.

    Attributes:
        outputs: the task's, by name, float32 [B, K, ...].
        log_probability: float32 [B, K], of the selection, divided by the row's length.
        kept: float32 [B, K, reductions], fraction of the row's own tokens that go on.
    """

    outputs: dict[str, Tensor]
    log_probability: Tensor
    kept: Tensor


class DrawnSelections:
    """Decides by chance, a `trbert_deploy.model.Decide` for one run of all stages: K selections for each row.

    At every reduction each token that is not protected is kept with the probability that its score gives it, on its
    own. Protected tokens are no choice and count for nothing.

    Attributes:
        log_probability: float32 [B * K], of what was drawn, divided by the row's length.
        kept: for each reduction float32 [B * K], the fraction of the row's own tokens that go on.

    Args:
        samples: K; those of a row stand one after the other.
        importance: for each reduction float32 [B, N], see `token_importance`. Where given, the first sample of each row
            imitates it: of the tokens still there it keeps the most important, as many as the policy would
            keep on average.

    Source:
        Paper section 3.2 and 3.3; `BertEncoder.forward` in upstream's modeling_autobert.py. Upstream divides each
        reduction's log-probability by the tokens that reached it, which differ between samples; divided by the row's
        length, the gradient of a row's samples that do not imitate is an unbiased estimate up to that constant.
    """

    log_probability: Tensor
    kept: list[Tensor]
    _lengths: Tensor

    def __init__(self, samples: int, importance: Sequence[Tensor] | None = None) -> None:
        self._samples, self._importance = samples, importance

    def __call__(self, reduction: int, scores: Scores, inputs: Mapping[str, Tensor]) -> Tensor:
        """See `Decide`: bool [B * K, M]."""
        if reduction == 0:
            scores = _repeated(scores, self._samples)
            self._lengths = scores.candidates.sum(-1).float()
            self.log_probability, self.kept = torch.zeros_like(self._lengths), []
        values, free = scores.values, scores.candidates & ~scores.protected
        with torch.no_grad():
            probability = torch.sigmoid(values).nan_to_num()  # bernoulli raises on NaN; the loop says what to do
            chosen = (torch.bernoulli(probability) > 0) & free
            if self._importance is not None:
                first = slice(None, None, self._samples)
                matters = self._importance[reduction].gather(1, scores.positions[first])
                chosen[first] = _imitate(matters, probability[first], free[first])
        signed = torch.where(chosen, values, -values)
        drawn = (torch.nn.functional.logsigmoid(signed) * free).sum(-1)
        self.log_probability = self.log_probability + drawn / self._lengths
        keep = chosen | (scores.candidates & scores.protected)
        self.kept.append(keep.sum(-1) / self._lengths)
        return keep


def roll_out(
    model: TRBertPreTrainedModel,
    inputs: Mapping[str, Tensor],
    samples: int,
    importance: Sequence[Tensor] | None = None,
) -> Rollout:
    """Draw selections and run the model on what they keep.

    Args:
        model: with reductions.
        inputs: the model's own, by name; over tokens int64 [B, N].
        samples: K.
        importance: see `DrawnSelections`.
    """
    selections = DrawnSelections(samples, importance)
    outputs = run_stages(model, inputs, selections)[-1].tensors
    return Rollout(
        {name: _by_row(output.float(), samples) for name, output in outputs.items()},
        _by_row(selections.log_probability, samples),
        _by_row(torch.stack(selections.kept, dim=-1), samples),
    )


def _by_row(tensor: Tensor, samples: int) -> Tensor:
    """[B, K, ...] of [B * K, ...]."""
    return tensor.reshape(-1, samples, *tensor.shape[1:])


def _repeated(scores: Scores, times: int) -> Scores:
    """Each row so many times, one after the other."""
    parts = (scores.values, scores.candidates, scores.protected, scores.positions)
    return Scores(*(part.repeat_interleave(times, dim=0) for part in parts))


def _imitate(importance: Tensor, probability: Tensor, free: Tensor) -> Tensor:
    """Of each row [B, M] the free tokens that matter most, as many as the policy expects to keep."""
    expected = ((probability * free).sum(-1) + 0.5).long()
    return keep_by_budget(importance, free, torch.zeros_like(free), expected)
