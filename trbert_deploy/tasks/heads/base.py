"""The contract of a head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from trbert_deploy.core.costs import HeadCost


@dataclass(frozen=True)
class HeadSettings:
    """What a head is made by.

    Attributes:
        hidden_size: H, of the states.
        num_labels: of the checkpoint.
        activation: between the two layers of a classifier on [CLS], by the encoder's own habit.
        classifier_dropout: before a classifier on [CLS].
        span_dropout: before the start and end logits.
        token_dropout: before a classifier on every token.
    """

    hidden_size: int
    num_labels: int
    activation: type[nn.Module] = nn.Tanh
    classifier_dropout: float = 0.0
    span_dropout: float = 0.0
    token_dropout: float = 0.0


class Head(nn.Module):
    """Outputs of a task from final states.

    Attributes:
        reads: the caller's inputs that it needs beside the states.
    """

    reads: ClassVar[tuple[str, ...]] = ()

    def forward(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The task's outputs, in its order.

        Args:
            states: [B, N, H]; where a row is several sequences [B, O, N, H].
            inputs: those of `reads`.
        """
        raise NotImplementedError

    def cost(self) -> HeadCost:
        """Its matrix products."""
        raise NotImplementedError


class Objective(ABC):
    """What a head is trained by. A head that is one beside being a `Head` makes its task one that can be trained.

    Outputs are float32, by name; rows may be samples of the same row of the data.
    """

    @abstractmethod
    def loss(self, outputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """The negative log-likelihood of the labels, float32 [rows].

        Args:
            outputs: of each row.
            labels: int64 [rows] or [rows, ...], what is right.
        """

    @abstractmethod
    def distance(self, outputs: Mapping[str, Tensor], teacher: Mapping[str, Tensor], temperature: float) -> Tensor:
        """How far outputs are from a teacher's on the same rows, float32 [rows]: the loss of distillation.

        Args:
            outputs: of each row.
            teacher: of the same shapes.
            temperature: both are softened by.
        """

    @abstractmethod
    def predicted(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """What the outputs say is right: int64, as the labels are."""

    def right(self, outputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Whether the prediction is the label, bool [rows]."""
        return (self.predicted(outputs) == labels).reshape(len(labels), -1).all(dim=1)


def tokens_at(states: Tensor, positions: Tensor) -> Tensor:
    """States [B, S, H] of the tokens at positions [B, S] of rows [B, N, H]; zero where the position is negative."""
    index = positions.clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])
    return torch.where((positions >= 0).unsqueeze(-1), torch.gather(states, 1, index), 0.0)
