"""What a trained model is held against at equal cost: rankings that were not learned, and reading less of the text."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertLayer

from trbert_deploy.core.costs import Costs, RowTokens, exact_flops
from trbert_deploy.model import TRBertPreTrainedModel, model_class
from trbert_deploy.tasks import TASKS

Classifier: Any = model_class(TASKS.get("sequence-classification"))

_SHORTEST_CUT = 3  # [CLS], a piece, [SEP]

Classifier: type[TRBertPreTrainedModel] = model_class(TASKS.get("sequence-classification"))


def attention_received(layer: nn.Module, states: Tensor, mask: Tensor) -> Tensor:
    """PoWER-BERT's significance score (Goyal et al., ICML 2020, section 3.2).

    Args:
        layer: a `BertLayer` or DistilBERT's `TransformerBlock`.
        states: what the layer reads, [B, M, H].
        mask: bool [B, M], real tokens.

    Returns:
        float32 [B, M]: the attention probabilities a token receives, summed over heads and over the real queries.
    """
    attention: Any = layer.attention
    if isinstance(layer, BertLayer):
        attention = attention.self
        query, key, heads = attention.query, attention.key, attention.num_attention_heads
    else:
        query, key, heads = attention.q_lin, attention.k_lin, attention.n_heads
    asked, offered = (projection(states).unflatten(-1, (heads, -1)).transpose(1, 2) for projection in (query, key))
    scores = asked @ offered.transpose(2, 3) * asked.shape[-1] ** -0.5
    probabilities = scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(-1)
    received: Tensor = (probabilities * mask[:, None, :, None]).sum((1, 2))
    return received


class AttentionScores(nn.Module):
    """In a selector's place: gives out the scores that `AttentionRanked` left here."""

    received: Tensor

    def forward(self, hidden_states: Tensor) -> Tensor:
        """float32 [B, M]."""
        return self.received


class RandomScores(nn.Module):
    """In a selector's place: a number for every token, drawn anew at each call."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """float32 [B, M]."""
        return torch.rand(hidden_states.shape[:-1], generator=self._generator)


class AttentionRanked(Classifier):  # type: ignore[misc]
    """A classifier whose one selector, shared by its reductions, is `AttentionScores`."""

    def run_layers(self, first: int, end: int, states: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """As ever; but where a reduction follows, the last layer's attention is kept for it."""
        if end < len(self.encoder_layers):
            states = super().run_layers(first, end - 1, states, mask, positions)
            self.selectors[0].received = attention_received(self.encoder_layers[end - 1], states, mask)
            first = end - 1
        ran: Tensor = super().run_layers(first, end, states, mask, positions)
        return ran


def by_attention(weights: TRBertPreTrainedModel, layers: Sequence[int]) -> TRBertPreTrainedModel:
    """A model that shares these weights and keeps, before these layers, what receives the most attention."""
    return _ranked(AttentionRanked, weights, layers, AttentionScores())


def at_random(weights: TRBertPreTrainedModel, layers: Sequence[int], seed: int) -> TRBertPreTrainedModel:
    """A model that shares these weights and keeps, before these layers, tokens drawn at random."""
    return _ranked(Classifier, weights, layers, RandomScores(seed))


def _ranked(
    of_class: type[TRBertPreTrainedModel],
    weights: TRBertPreTrainedModel,
    layers: Sequence[int],
    scores: nn.Module,
) -> TRBertPreTrainedModel:
    config = copy.copy(weights.config)
    config.reduction_layers, config.keep = list(layers), None
    with torch.device("meta"):  # its own weights are never used
        model = of_class(config)
    model.backbone, model.head = weights.backbone, weights.head
    model.selectors = nn.ModuleList([scores] * len(layers))
    model.config.selector_size = 0  # nothing is multiplied for these scores, so no FLOPs are charged
    model.eval()
    return model


def equal_cost_length(costs: Costs, lengths: npt.NDArray[np.int64], flops: float) -> int:
    """The smallest length to cut rows to at which a dense model spends, on average, no fewer FLOPs than given.

    Args:
        costs: of the dense model.
        lengths: int64 [rows], tokens of the rows as they are.
        flops: exact, of a row on average. Where whole rows cost less, nothing is cut.
    """

    def cost(length: int) -> float:
        values, counts = np.unique(np.minimum(lengths, length), return_counts=True)
        return float(np.average([exact_flops(costs, RowTokens(int(value))) for value in values], weights=counts))

    longest = int(lengths.max())
    return bisect_left(range(longest), flops, lo=min(_SHORTEST_CUT, longest), key=cost)
