"""Valid inputs made of random numbers, as a task's specification allows them: to check graphs with, and to time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trbert_deploy.core.request import IntArray
from trbert_deploy.core.specs import InputSpec, TaskSpec

#: How many of an axis that is the caller's own, such as options: four as in upstream's multiple choice data (RACE).
ENTRIES = 4


def random_batch(task: TaskSpec, lengths: Sequence[int], rng: np.random.Generator) -> dict[str, IntArray]:
    """Valid inputs for rows of these lengths.

    Args:
        task: what is taken.
        lengths: real tokens of each row, at least 1. Where a row has several sequences, the first is as long as it, and
            every further one by a token shorter.
        rng: source of randomness.

    Returns:
        int64 arrays by name, padded to the longest row.
    """
    real = np.arange(max(lengths)) < np.asarray(lengths)[:, None]
    if task.sequences_axis:
        ends = [[max(1, length - sequence) for sequence in range(ENTRIES)] for length in lengths]
        real = np.arange(max(lengths)) < np.asarray(ends)[..., None]
    inputs = {}
    for spec in task.inputs:
        if spec.name == "attention_mask":
            inputs[spec.name] = real.astype(np.int64)
        elif spec.per_token:
            assert spec.maximum is not None
            drawn = rng.integers(spec.minimum, spec.maximum + 1, real.shape)
            inputs[spec.name] = np.where(real, drawn, spec.padding)
        else:
            inputs[spec.name] = np.stack([_own(spec, length, rng) for length in lengths])
    return inputs


def _own(spec: InputSpec, length: int, rng: np.random.Generator) -> IntArray:
    """An input of the task's own for one row: within its range, spans ascending, the last entry absent if it may be."""
    largest = [] if spec.maximum is None else [spec.maximum]
    if spec.maximum_from_length is not None:
        largest.append(length + spec.maximum_from_length)
    least = max(0, spec.minimum) if spec.padding < 0 else spec.minimum
    shape = [ENTRIES if isinstance(axis, str) else axis for axis in spec.axes[1:]]
    drawn = rng.integers(least, min(largest, default=least) + 1, shape)
    if shape and isinstance(spec.axes[-1], int):
        drawn = np.sort(drawn, axis=-1)
    if shape and spec.padding < 0:
        drawn[-1] = spec.padding
    return np.asarray(drawn, dtype=np.int64)
