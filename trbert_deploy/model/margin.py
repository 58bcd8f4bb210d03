"""How close a selection was: the distance of the nearest selector logit from changing a kept set."""

from __future__ import annotations

import torch
from torch import Tensor

from trbert_deploy.model.modeling import TRBertOutput


def selection_margins(output: TRBertOutput) -> list[Tensor]:
    """For each reduction and row, by how much a logit would have to move for another set to be kept.

    Policy mode: the smallest absolute logit. Budget mode: the gap between the lowest logit kept and the highest
    dropped; exactly zero where the position decided between equals. Only tokens that the selector decided on count.
    Infinite where nothing could change.

    Returns:
        float32 [B] for each reduction.
    """
    margins = []
    for decision, mask in zip(output.decisions, output.keep_masks, strict=True):
        logits, free, kept = decision.scores, decision.free, mask > 0
        if output.budgets is None:
            margin = logits.abs().masked_fill(~free, torch.inf).amin(1)
        else:
            lowest_kept = logits.masked_fill(~(free & kept), torch.inf).amin(1)
            highest_dropped = logits.masked_fill(~(free & ~kept), -torch.inf).amax(1)
            margin = lowest_kept - highest_dropped
        margins.append(margin)
    return margins
