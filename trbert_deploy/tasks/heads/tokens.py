"""A classifier on every token."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trbert_deploy.core.costs import HeadCost
from trbert_deploy.tasks.heads.base import Head, HeadSettings


class TokenHead(Head):
    """``logits`` [B, N, labels], zero at padding; as transformers' `BertForTokenClassification`."""

    reads = ("attention_mask",)

    def __init__(self, settings: HeadSettings) -> None:
        super().__init__()
        self.dropout = nn.Dropout(settings.token_dropout)
        self.classifier = nn.Linear(settings.hidden_size, settings.num_labels)

    def forward(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Logits of every token."""
        logits = self.classifier(self.dropout(states))
        return (torch.where((inputs["attention_mask"] > 0).unsqueeze(-1), logits, 0.0),)

    def cost(self) -> HeadCost:
        """See `Head.cost`; upstream has no such class, its formula is taken to charge two outputs a row."""
        hidden = self.classifier.in_features
        return HeadCost(token=hidden * self.classifier.out_features, upstream=2 * hidden)
