"""What a row's outputs choose, to count right answers by and to compare two backends."""

from __future__ import annotations

import numpy as np

from trbert_deploy.bench.outputs import RowOutputs
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.text.spans import sigmoid


def predictions(task: TaskSpec, outputs: RowOutputs) -> list[int]:
    """Every choice that a row's outputs make.

    Of classes: the best, or with sigmoid for each label whether it applies, or nothing where the score itself is the
    answer. Of other tasks the arg max along each output's last axis: options, tokens, candidates.
    """
    if task.decoding.kind == "classes":
        told = task.decoding.parameters
        logits = outputs[told["output"]]
        if told["activation"] == "identity":
            return []
        if told["activation"] == "sigmoid":
            return [int(score >= told["threshold"]) for score in sigmoid(logits)]
        return [int(logits.argmax(-1))]
    found: list[int] = []
    for output in task.outputs:
        found += np.atleast_1d(outputs[output.name].argmax(-1)).reshape(-1).tolist()
    return found
