"""Reward and policy gradient."""

from __future__ import annotations

from torch import Tensor


def reward(losses: Tensor, kept: Tensor, alpha: float) -> Tensor:
    """What a selection is worth: ``-loss - alpha * mean kept fraction``.

    Args:
        losses: float32 [B, K], the task's loss (the negative log-likelihood) under each selection.
        kept: float32 [B, K, reductions], fractions of the row's own length.
        alpha: the price of keeping everything.

    Returns:
        float32 [B, K].

    Source:
        Paper equation of the reward, section 3.3; `train_rl` in upstream's run_classification.py. Upstream divides by
        the padded length, so that a token of a short row costs as much as one of a long row.
    """
    return -losses - alpha * kept.mean(-1)


def policy_loss(rewards: Tensor, log_probability: Tensor) -> Tensor:
    """The scalar whose gradient is the REINFORCE estimate, with the mean over a row's samples as the baseline.

    The baseline holds the sample itself, so the expectation is (K - 1) / K of the gradient of the expected reward; and
    if `log_probability` is divided by a length, so is the gradient.

    Args:
        rewards: float32 [B, K].
        log_probability: float32 [B, K].

    Source:
        `train_rl` in upstream's run_classification.py (no division by the standard deviation).
    """
    advantage = (rewards - rewards.mean(dim=1, keepdim=True)).detach()
    return -(advantage * log_probability).mean()
