"""Rows to check graphs with: random token ids, and what else the task takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trbert_deploy.core.request import Limits
from trbert_deploy.tasks import Task

OPTIONS = 4  # as in upstream's multiple choice data (RACE)


def random_batch(
    task: Task, limits: Limits, lengths: Sequence[int], rng: np.random.Generator
) -> dict[str, npt.NDArray[np.int64]]:
    """Valid inputs for rows of these lengths.

    Args:
        task: decides which inputs there are.
        limits: the model's.
        lengths: real tokens of each row, at least 1.
        rng: source of randomness.

    Returns:
        int64 arrays by name, padded with zeros to the longest row.
    """
    batch, width = len(lengths), max(lengths)
    real = np.arange(width) < np.asarray(lengths)[:, None]
    if task.multiple_choice:  # options end at different places; the first is as long as the row
        ends = [[length if option == 0 else max(1, length - option) for option in range(OPTIONS)] for length in lengths]
        real = np.arange(width) < np.asarray(ends)[..., None]
    inputs = {
        "input_ids": np.where(real, rng.integers(0, limits.vocab_size, real.shape), 0),
        "attention_mask": real.astype(np.int64),
    }
    if limits.token_types:
        inputs["token_type_ids"] = np.where(real, rng.integers(0, limits.token_types, real.shape), 0)
    if "question_ends" in task.inputs:
        inputs["question_ends"] = np.array([max(1, length * 2 // 3) for length in lengths])
    if "sentence_spans" in task.inputs:
        middles = [(length - 1) // 2 for length in lengths]
        inputs["sentence_spans"] = np.array(
            [[[0, middle], [middle, length - 1], [-1, -1]] for middle, length in zip(middles, lengths, strict=True)]
        )
    if "candidate_positions" in task.inputs:
        inputs["candidate_positions"] = np.array([[0, length // 2, length - 1, -1] for length in lengths]).reshape(
            batch, 4
        )
    return {name: array.astype(np.int64) for name, array in inputs.items()}
