"""Probabilities, and the best span of a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]


def best_span(
    start_logits: FloatArray, end_logits: FloatArray, answerable: npt.NDArray[np.bool_], max_tokens: int
) -> tuple[int, int]:
    """The span with the highest sum of start and end logit.

    Args:
        start_logits: [N].
        end_logits: [N].
        answerable: bool [N], tokens that may be part of an answer, at least one; a span holds no other.
        max_tokens: of a span.

    Returns:
        Its first and last token. Of equal spans the one that starts, then the one that ends first.
    """
    size = len(start_logits)
    position = np.arange(size)
    span_length = position[None, :] - position[:, None] + 1
    piece = np.cumsum(~answerable)  # the same for two answerable tokens with none between that is not
    allowed = (
        (span_length >= 1)
        & (span_length <= max_tokens)
        & answerable[:, None]
        & answerable[None, :]
        & (piece[:, None] == piece[None, :])
    )
    scores = np.where(allowed, start_logits[:, None].astype(np.float64) + end_logits[None, :], -np.inf)
    start, end = divmod(int(np.argmax(scores)), size)
    return start, end


def softmax(logits: FloatArray) -> npt.NDArray[np.float64]:
    """Probabilities over the last axis."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(logits: FloatArray) -> npt.NDArray[np.float64]:
    """Probabilities, each by itself; no logit is too large for it."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits.astype(np.float64))))


def softmax_where(logits: FloatArray, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Probabilities [N] over those that are wanted, of which there is at least one; 0 for the others."""
    scores = np.zeros(len(logits))
    scores[wanted] = softmax(logits[wanted])
    return scores
