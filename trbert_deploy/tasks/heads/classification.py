"""Heads on the state of [CLS]."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trbert_deploy.core.costs import HeadCost
from trbert_deploy.tasks.heads.base import Head, HeadSettings, Objective


class FirstTokenHead(Head):
    """A classifier of two layers on the state of [CLS].

    BERT: pooler (dense, tanh) and classifier; DistilBERT: pre_classifier (dense, ReLU) and classifier. Here the first
    layer is `dense` in both. Source: upstream's modeling_autobert.py, modeling_distilautobert.py.
    """

    def __init__(self, settings: HeadSettings) -> None:
        super().__init__()
        self.dense = nn.Linear(settings.hidden_size, settings.hidden_size)
        self.activation = settings.activation()
        self.dropout = nn.Dropout(settings.classifier_dropout)
        self.classifier = nn.Linear(settings.hidden_size, settings.num_labels)

    def score(self, first_token: Tensor) -> Tensor:
        """[..., labels] for states [..., H]."""
        logits: Tensor = self.classifier(self.dropout(self.activation(self.dense(first_token))))
        return logits

    def cost(self) -> HeadCost:
        """See `Head.cost`; upstream leaves the pooler out."""
        hidden, labels = self.dense.in_features, self.classifier.out_features
        return HeadCost(row=hidden * hidden + hidden * labels, upstream=hidden * labels)


class ClassificationHead(FirstTokenHead, Objective):
    """``logits`` [B, labels], one of which is right: labels are int64 [B]."""

    def forward(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Logits of each row."""
        return (self.score(states[:, 0]),)

    def loss(self, outputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """See `Objective.loss`."""
        return nn.functional.cross_entropy(outputs["logits"], labels, reduction="none")

    def distance(self, outputs: Mapping[str, Tensor], teacher: Mapping[str, Tensor], temperature: float) -> Tensor:
        """See `Objective.distance`: the cross-entropy with the teacher's softened distribution.

        Source: `train_both` with `train_teacher` in upstream's run_classification.py. As there, it is not scaled by the
        temperature's square.
        """
        wanted = torch.softmax(teacher["logits"] / temperature, dim=-1)
        return -(wanted * torch.log_softmax(outputs["logits"] / temperature, dim=-1)).sum(-1)

    def predicted(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """See `Objective.predicted`."""
        return outputs["logits"].argmax(-1)


class ChoiceHead(FirstTokenHead):
    """``logits`` [B, options]: one for each of a row's sequences."""

    def __init__(self, settings: HeadSettings) -> None:
        super().__init__(settings)
        self.classifier = nn.Linear(settings.hidden_size, 1)

    def forward(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Logits of each option."""
        return (self.score(states[:, :, 0]).squeeze(-1),)

    def cost(self) -> HeadCost:
        """See `Head.cost`; here upstream counts the pooler, once an option (run_mcrace.py)."""
        whole = super().cost().row
        return HeadCost(row=whole, upstream=whole)
