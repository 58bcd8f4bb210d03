"""From raw samples to the numbers of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trbert_deploy.core.errors import TRBertError


@dataclass(frozen=True)
class Latency:
    """How long the batches of a workload took on one backend.

    Attributes:
        p50_ms: median over the rounds, milliseconds a batch; likewise the 90th and 99th percentiles, linearly
            interpolated between samples.
        p90_ms: see `p50_ms`.
        p99_ms: see `p50_ms`.
        mean_ms: arithmetic mean.
        rows_per_second: rows of all rounds over the time of all rounds.
        tokens_per_second: real tokens (padding not counted, nor dropped ones left out) over the same time.
        samples_ms: the raw samples, one a round, in the order of the rounds.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    rows_per_second: float
    tokens_per_second: float
    samples_ms: list[float]


@dataclass(frozen=True)
class SpeedUp:
    """How many times faster the bundle was than a baseline, on the same batches in the same rounds.

    Attributes:
        against: the baseline's name.
        of_medians: the baseline's median over the bundle's; what gates look at.
        of_rounds: median of the ratios of the single rounds.
        of_rounds_low: their lower quartile.
        of_rounds_high: their upper quartile.
    """

    against: str
    of_medians: float
    of_rounds: float
    of_rounds_low: float
    of_rounds_high: float


def latency(samples_ms: Sequence[float], rows: int, tokens: int) -> Latency:
    """Summarise the samples of one backend.

    Args:
        samples_ms: milliseconds a batch, one sample a round.
        rows: rows of all the rounds together.
        tokens: real tokens of all the rounds together.

    Raises:
        TRBertError: there are no samples.
    """
    if not samples_ms:
        raise TRBertError("there are no samples to summarise", "time at least one round: --iterations 1")
    p50, p90, p99 = (float(value) for value in np.percentile(samples_ms, [50, 90, 99]))
    seconds = sum(samples_ms) / 1e3
    return Latency(p50, p90, p99, float(np.mean(samples_ms)), rows / seconds, tokens / seconds, list(samples_ms))


def speed_up(against: str, baseline_ms: Sequence[float], bundle_ms: Sequence[float]) -> SpeedUp:
    """Compare two backends.

    Args:
        against: the baseline's name.
        baseline_ms: its samples, one a round.
        bundle_ms: the bundle's samples of the same rounds.
    """
    ratios = np.asarray(baseline_ms, dtype=np.float64) / np.asarray(bundle_ms, dtype=np.float64)
    low, middle, high = (float(value) for value in np.percentile(ratios, [25, 50, 75]))
    medians = float(np.median(baseline_ms) / np.median(bundle_ms))
    return SpeedUp(against, medians, middle, low, high)
