"""HotpotQA's outputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trbert_deploy.core.costs import HeadCost
from trbert_deploy.tasks.heads.base import Head, HeadSettings, tokens_at
from trbert_deploy.tasks.heads.span import SpanHead


class HotpotHead(Head):
    """Span, answer type [B, 3] and supporting sentences [B, S, 2]. Source: `AUTOQABertForQuestionAnsweringHotpot`."""

    reads = ("attention_mask", "sentence_spans")

    def __init__(self, settings: HeadSettings) -> None:
        super().__init__()
        hidden_size = settings.hidden_size
        self.span = SpanHead(settings)
        self.qa_classifier = nn.Linear(hidden_size, 3)
        self.sent_linear = nn.Linear(2 * hidden_size, hidden_size)
        self.sent_classifier = nn.Linear(hidden_size, 2)

    def forward(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Start and end [B, N], answer type, sentences; an absent sentence's representation is zero, as upstream's."""
        start_logits, end_logits = self.span(states, inputs)
        real = (inputs["attention_mask"] > 0).unsqueeze(-1)
        lowest = torch.finfo(states.dtype).min
        switch_logits = self.qa_classifier(torch.where(real, states, lowest).amax(dim=1))
        spans = inputs["sentence_spans"]
        sentences = torch.cat([tokens_at(states, spans[..., 0]), tokens_at(states, spans[..., 1])], dim=-1)
        sent_logits = self.sent_classifier(nn.functional.gelu(self.sent_linear(sentences)))
        return start_logits, end_logits, switch_logits, sent_logits

    def cost(self) -> HeadCost:
        """See `Head.cost`."""
        hidden = self.qa_classifier.in_features
        span = self.span.cost()
        return HeadCost(
            row=3 * hidden, token=span.token, entry=2 * hidden * hidden + 2 * hidden, upstream=span.upstream
        )
