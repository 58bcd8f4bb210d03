"""Where an answer starts and ends."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trbert_deploy.core.costs import HeadCost
from trbert_deploy.core.specs import NO_LOGIT
from trbert_deploy.tasks.heads.base import Head, HeadSettings


class SpanHead(Head):
    """``start_logits`` and ``end_logits`` [B, N]; `NO_LOGIT` at padding.

    Source: `AUTOQABertForQuestionAnswering`; `AUTOQADistilBertForQuestionAnswering`, the one with a dropout.
    """

    reads = ("attention_mask",)

    def __init__(self, settings: HeadSettings) -> None:
        super().__init__()
        self.dropout = nn.Dropout(settings.span_dropout)
        self.qa_outputs = nn.Linear(settings.hidden_size, 2)

    def forward(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Start and end logits."""
        real = inputs["attention_mask"] > 0
        logits = self.qa_outputs(self.dropout(states))
        return (
            torch.where(real, logits[..., 0], NO_LOGIT),
            torch.where(real, logits[..., 1], NO_LOGIT),
        )

    def cost(self) -> HeadCost:
        """See `Head.cost`."""
        size = 2 * self.qa_outputs.in_features
        return HeadCost(token=size, upstream=size)
