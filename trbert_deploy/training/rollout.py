"""Selections drawn from the policy, and what the model answers under each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.model.reduction import gather_order, gather_states, keep_by_budget


@dataclass(frozen=True)
class Rollout:
    """K selections for each of B rows.

    Attributes:
        logits: float32 [B, K, labels], the task's.
        log_probability: float32 [B, K], of the selection, divided by the row's length.
        kept: float32 [B, K, reductions], fraction of the row's own tokens that go on.
    """

    logits: Tensor
    log_probability: Tensor
    kept: Tensor


def roll_out(
    model: TRBertPreTrainedModel,
    inputs: Mapping[str, Tensor],
    samples: int,
    importance: Sequence[Tensor] | None = None,
) -> Rollout:
    """Draw selections and run the model on what they keep.

    At every reduction each token other than [CLS] is kept with the probability that its selector gives it, on its
    own. What comes before the first reduction is computed once for all samples of a row.

    Args:
        model: of sequence classification, with selectors.
        inputs: `input_ids`, `attention_mask`, `token_type_ids`, int64 [B, N].
        samples: K.
        importance: for each reduction float32 [B, N], see `token_importance`. Where given, the first sample of each row
            imitates it: of the tokens still there it keeps the most important, as many as the policy would
            keep on average.

    Source:
        Paper section 3.2 and 3.3; `BertEncoder.forward` in upstream's modeling_autobert.py. Upstream divides each
        reduction's log-probability by the tokens that reached it, which differ between samples; divided by the row's
        length, the gradient of a row's samples that do not imitate is an unbiased estimate up to that constant. [CLS]
        is no choice and counts for nothing.
    """
    states, valid, *_ = model.embed(inputs)
    bounds = model.stage_bounds
    states = model.run_layers(bounds[0], bounds[1], states, valid)
    rows = len(states)
    lengths = valid.sum(-1).float().repeat_interleave(samples)
    source = torch.arange(rows, device=states.device).repeat_interleave(samples)
    everyone = torch.arange(rows * samples, device=states.device)
    valid = valid[source]
    original = torch.arange(valid.shape[1], device=states.device).expand_as(valid)
    log_probability = torch.zeros_like(lengths)
    kept = []
    for index, selector in enumerate(model.selectors):
        logits = selector(states)[source] if index == 0 else selector(states)
        free = valid & (original != 0)
        with torch.no_grad():
            probability = torch.sigmoid(logits).nan_to_num()  # bernoulli raises on NaN; the loop says what to do
            chosen = (torch.bernoulli(probability) > 0) & free
            if importance is not None:
                first = slice(None, None, samples)
                chosen[first] = _imitate(importance[index], probability[first], free[first], original[first])
        signed = torch.where(chosen, logits, -logits)
        log_probability = log_probability + (torch.nn.functional.logsigmoid(signed) * free).sum(-1) / lengths
        keep_mask = (chosen | (valid & (original == 0))).long()
        counts = keep_mask.sum(-1)
        kept.append(counts / lengths)
        order, valid = gather_order(keep_mask, everyone, everyone.new_zeros(int(counts.max())))
        states = gather_states(states, source, order)
        original = original.gather(1, order)
        source = everyone
        states = model.run_layers(bounds[index + 1], bounds[index + 2], states, valid)
    (answer,) = model.apply_head(states, inputs)
    by_row = (rows, samples, -1)
    return Rollout(
        answer.float().reshape(by_row), log_probability.reshape(by_row[:2]), torch.stack(kept, dim=-1).reshape(by_row)
    )


def _imitate(importance: Tensor, probability: Tensor, free: Tensor, original: Tensor) -> Tensor:
    """Of each row [B, M] the free tokens that matter most, as many as the policy expects to keep."""
    expected = ((probability * free).sum(-1) + 0.5).long()
    return keep_by_budget(importance.gather(1, original), free, torch.zeros_like(free), expected)
