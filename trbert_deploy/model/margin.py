"""How close a selection was: the distance of the nearest selector logit from changing a kept set."""

from __future__ import annotations

import torch
from torch import Tensor

from trbert_deploy.model.modeling import TRBertOutput, TRBertPreTrainedModel


def selection_margins(
    model: TRBertPreTrainedModel, attention_mask: Tensor, output: TRBertOutput
) -> list[Tensor]:
    """For each reduction and row, by how much a logit would have to move for another set to be kept.

    Policy mode: the smallest absolute logit. Budget mode: the gap between the lowest logit kept and the highest
    dropped; exactly zero where the position decided between equals. Infinite where nothing could change. Tokens that
    multiple choice protects count as any other, which can only make a margin smaller than it is.

    Args:
        model: the model that answered.
        attention_mask: int64 [B, N] ([B, options, N] in multiple choice), as given to the model.
        output: its answer.

    Returns:
        float32 [B] for each reduction.
    """
    alive = attention_mask.amax(dim=1) > 0 if model.task.multiple_choice else attention_mask > 0
    margins = []
    for mask, logits in zip(output.keep_masks, output.selector_logits, strict=True):
        kept = mask > 0
        free = alive & (torch.arange(mask.shape[1], device=mask.device) > 0)  # [CLS] is not the selector's to drop
        if output.budgets is None:
            margin = logits.abs().masked_fill(~free, torch.inf).amin(1)
        else:
            lowest_kept = logits.masked_fill(~(free & kept), torch.inf).amin(1)
            highest_dropped = logits.masked_fill(~(free & ~kept), -torch.inf).amax(1)
            margin = lowest_kept - highest_dropped
        margins.append(margin)
        if model.task.restores:
            alive = kept
        else:
            counts = mask.sum(1, keepdim=True)
            alive = torch.arange(int(counts.max()), device=mask.device).unsqueeze(0) < counts
    return margins
