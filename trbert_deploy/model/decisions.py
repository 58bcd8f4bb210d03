"""Who goes on: the ways to turn scores into kept tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from trbert_deploy.model.compaction import keep_by_budget, keep_by_policy


@dataclass(frozen=True)
class Scores:
    """What one reduction decides by.

    Attributes:
        values: float32 [B, M], a token goes on where its score is not negative.
        candidates: bool [B, M], real tokens still in the row.
        protected: bool [B, M], tokens that go on whatever their score.
        positions: int64 [B, M], where the tokens stand in the original row. Known in the loop over all stages; a graph
            of its own counts from what the reduction before kept, unless the model hands positions on.
    """

    values: Tensor
    candidates: Tensor
    protected: Tensor
    positions: Tensor


class Decide(Protocol):
    """Decides at every reduction of a model."""

    def __call__(self, reduction: int, scores: Scores, inputs: Mapping[str, Tensor]) -> Tensor:
        """Which tokens go on.

        Args:
            reduction: from 0.
            scores: of the rows that the stage ran.
            inputs: of the stage.

        Returns:
            bool [B, M], or [B * K, M] where K selections are drawn for each row, one after the other.
        """
        ...


def by_policy(reduction: int, scores: Scores, inputs: Mapping[str, Tensor]) -> Tensor:
    """Policy mode: a row keeps what the scores say."""
    return keep_by_policy(scores.values, scores.candidates, scores.protected)


def by_budget(reduction: int, scores: Scores, inputs: Mapping[str, Tensor]) -> Tensor:
    """Budget mode: a row keeps as many as `budget` int64 [B] of the inputs says."""
    return keep_by_budget(scores.values, scores.candidates, scores.protected, inputs["budget"])
