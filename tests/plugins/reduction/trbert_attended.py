"""A reduction of another package: a linear score; a token that leaves stays as it is, and goes on being attended to."""

from typing import Any

from torch import Tensor, nn

from trbert_deploy.reductions import Reduction


class LinearScore(nn.Linear):
    """float32 [..., M] for states [..., M, H]."""

    def forward(self, states: Tensor) -> Tensor:
        """The score of each token."""
        return super().forward(states.float()).squeeze(-1)


class Attended(Reduction):
    """One place, half-way up."""

    name = "attended"
    fate = "attended"

    def default_layers(self, num_layers: int) -> list[int]:
        """Before the middle layer."""
        return [max(1, num_layers // 2)] if num_layers > 1 else []

    def make_score(self, config: Any) -> nn.Module:
        """A linear map."""
        return LinearScore(config.backbone.hidden_size, 1)

    def score_cost(self, config: Any) -> int:
        """One product a token."""
        return int(config.backbone.hidden_size)


REDUCTION = Attended()
