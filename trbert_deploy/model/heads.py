"""Task heads, with upstream's shapes; each returns its task's outputs in order."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from trbert_deploy.tasks import NO_LOGIT


def bert_classifier_dropout(backbone: PreTrainedConfig) -> float:
    """Rate before a BERT's classifier, as in transformers: its own, or else that of all states."""
    rate = backbone.classifier_dropout
    return float(backbone.hidden_dropout_prob if rate is None else rate)


class ClassificationHead(nn.Module):
    """Logits from the state of [CLS].

    BERT: pooler (dense, tanh) and classifier; DistilBERT: pre_classifier (dense, ReLU) and classifier. Here the first
    layer is `dense` in both. Source: upstream's modeling_autobert.py, modeling_distilautobert.py.
    """

    def __init__(self, backbone: PreTrainedConfig, num_labels: int) -> None:
        super().__init__()
        bert = backbone.model_type == "bert"
        self.dense = nn.Linear(backbone.hidden_size, backbone.hidden_size)
        self.activation = nn.Tanh() if bert else nn.ReLU()
        self.dropout = nn.Dropout(bert_classifier_dropout(backbone) if bert else backbone.seq_classif_dropout)
        self.classifier = nn.Linear(backbone.hidden_size, num_labels)

    def forward(self, first_token: Tensor) -> Tensor:
        """[..., labels] for states [..., H]."""
        logits: Tensor = self.classifier(self.dropout(self.activation(self.dense(first_token))))
        return logits


class SpanHead(nn.Module):
    """Start and end logits of every token.

    Source: `AUTOQABertForQuestionAnswering`; `AUTOQADistilBertForQuestionAnswering`, the one with a dropout.
    """

    def __init__(self, hidden_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.qa_outputs = nn.Linear(hidden_size, 2)

    def forward(self, states: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N] twice, for states [B, N, H]; `NO_LOGIT` at padding."""
        real = attention_mask > 0
        logits = self.qa_outputs(self.dropout(states))
        return (
            torch.where(real, logits[..., 0], NO_LOGIT),
            torch.where(real, logits[..., 1], NO_LOGIT),
        )


class HotpotHead(nn.Module):
    """Span, answer type and supporting sentences. Source: `AUTOQABertForQuestionAnsweringHotpot`."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.span = SpanHead(hidden_size)
        self.qa_classifier = nn.Linear(hidden_size, 3)
        self.sent_linear = nn.Linear(2 * hidden_size, hidden_size)
        self.sent_classifier = nn.Linear(hidden_size, 2)

    def forward(
        self, states: Tensor, attention_mask: Tensor, sentence_spans: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Start and end [B, N], answer type [B, 3], sentences [B, S, 2].

        Args:
            states: [B, N, H].
            attention_mask: int64 [B, N].
            sentence_spans: int64 [B, S, 2], first and last token; -1 for an absent sentence, whose
                representation is zero as in upstream's mapping matrices.
        """
        start_logits, end_logits = self.span(states, attention_mask)
        real = (attention_mask > 0).unsqueeze(-1)
        lowest = torch.finfo(states.dtype).min
        switch_logits = self.qa_classifier(torch.where(real, states, lowest).amax(dim=1))
        sentences = torch.cat(
            [tokens_at(states, sentence_spans[..., 0]), tokens_at(states, sentence_spans[..., 1])], dim=-1
        )
        sent_logits = self.sent_classifier(nn.functional.gelu(self.sent_linear(sentences)))
        return start_logits, end_logits, switch_logits, sent_logits


class CandidateHead(nn.Module):
    """One logit for each candidate. Source: `AUTOQABertForWikihopMulti`, of which a row here is one segment.

    A document of several segments averages its rows' logits over them, as upstream does.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.qa_outputs = nn.Linear(hidden_size, 1)

    def forward(self, states: Tensor, candidate_positions: Tensor) -> Tensor:
        """[B, C] for states [B, N, H] and positions int64 [B, C]; `NO_LOGIT` where the position is -1."""
        logits = self.qa_outputs(tokens_at(states, candidate_positions)).squeeze(-1)
        return torch.where(candidate_positions >= 0, logits, NO_LOGIT)


class TokenHead(nn.Module):
    """Logits of every token, as transformers' `BertForTokenClassification`."""

    def __init__(self, hidden_size: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden_size, num_labels)

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, N, labels] for states [B, N, H]; zero at padding."""
        logits = self.classifier(self.dropout(states))
        return torch.where((attention_mask > 0).unsqueeze(-1), logits, 0.0)


def tokens_at(states: Tensor, positions: Tensor) -> Tensor:
    """States [B, S, H] of the tokens at positions [B, S] of rows [B, N, H]; zero where the position is negative."""
    index = positions.clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])
    return torch.where((positions >= 0).unsqueeze(-1), torch.gather(states, 1, index), 0.0)
