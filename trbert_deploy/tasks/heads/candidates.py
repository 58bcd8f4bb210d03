"""WikiHop's output."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trbert_deploy.core.costs import HeadCost
from trbert_deploy.core.specs import NO_LOGIT
from trbert_deploy.tasks.heads.base import Head, HeadSettings, tokens_at


class CandidateHead(Head):
    """``candidate_logits`` [B, C]; `NO_LOGIT` where the position is -1.

    Source: `AUTOQABertForWikihopMulti`, of which a row here is one segment. A document of several segments averages its
    rows' logits over them, as upstream does.
    """

    reads = ("candidate_positions",)

    def __init__(self, settings: HeadSettings) -> None:
        super().__init__()
        self.qa_outputs = nn.Linear(settings.hidden_size, 1)

    def forward(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Logits of the candidates."""
        positions = inputs["candidate_positions"]
        logits = self.qa_outputs(tokens_at(states, positions)).squeeze(-1)
        return (torch.where(positions >= 0, logits, NO_LOGIT),)

    def cost(self) -> HeadCost:
        """See `Head.cost`."""
        hidden = self.qa_outputs.in_features
        return HeadCost(entry=hidden, upstream=hidden)
