"""TR-BERT's selectors: a small network scores every token, learned by reinforcement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trbert_deploy.backbones import Backbone
from trbert_deploy.reductions.base import Reduction


class Selector(nn.Module):
    """Scores every token: Linear(H, S), exact GELU, Linear(S, 1); always in float32.

    Source: `linear_1` and `linear_2` of `BertEncoder` in upstream's modeling_autobert.py; paper section 3.2.
    """

    def __init__(self, hidden_size: int, selector_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, selector_size)
        self.score = nn.Linear(selector_size, 1)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Logits of keeping, float32 [..., M], for states [..., M, H]."""
        device = hidden_states.device.type
        if torch.is_autocast_enabled(device):  # mixed precision ends here
            with torch.autocast(device, enabled=False):
                return self(hidden_states)  # type: ignore[no-any-return]
        logits: Tensor = self.score(nn.functional.gelu(self.dense(hidden_states.float())))
        return logits.squeeze(-1)


class SelectorReduction(Reduction):
    """The score is the selector's logit; a token that leaves is dropped."""

    name = "selector"
    fate = "dropped"
    foreign_classes = {  # github.com/thunlp/TR-BERT
        "AUTOBertForSequenceClassification": ("bert", "sequence-classification"),
        "AUTODistilBertForSequenceClassification": ("distilbert", "sequence-classification"),
        "AUTOMCBertForMultipleChoice": ("bert", "multiple-choice"),
        "AUTOMCDistilBertForMultipleChoice": ("distilbert", "multiple-choice"),
        "AUTOQABertForQuestionAnswering": ("bert", "question-answering"),
        "AUTOQABertForTriviaQuestionAnswering": ("bert", "question-answering"),
        "AUTOQADistilBertForQuestionAnswering": ("distilbert", "question-answering"),
        "AUTOQABertForQuestionAnsweringHotpot": ("bert", "hotpot"),
        "AUTOQABertForWikihopMulti": ("bert", "wikihop"),
    }

    def default_layers(self, num_layers: int) -> list[int]:
        """Upstream's places: before layer 1 and before layer L // 2, which coincide for L = 2 and 3.

        Source: `BertEncoder.forward` (``i in [1, mid]``) in upstream's modeling_autobert.py.
        """
        return sorted({layer for layer in (1, num_layers // 2) if layer < num_layers})

    def make_score(self, config: Any) -> nn.Module:
        """See `Reduction.make_score`."""
        return Selector(config.backbone.hidden_size, config.selector_size)

    def score_cost(self, config: Any) -> int:
        """See `Reduction.score_cost`."""
        return int(config.backbone.hidden_size * config.selector_size + config.selector_size)

    def keys(self, backbone: Backbone) -> Mapping[str, str]:
        """See `Reduction.keys`; upstream's selectors belong to the encoder's stack."""
        stack = rf"^{backbone.model_type}\.{backbone.stack}"
        return {
            rf"{stack}\.linear_1\.(\d+)\.": r"selectors.\1.dense.",
            rf"{stack}\.linear_2\.(\d+)\.": r"selectors.\1.score.",
        }


REDUCTION = SelectorReduction()
