"""What should make one stop and look: a teacher that knows nothing, selectors that decide nothing."""

from __future__ import annotations

import math

from trbert_deploy.class_metrics import Majority
from trbert_deploy.training.evaluation import Evaluation


def caution_teacher(evaluation: Evaluation, majority: Majority) -> str | None:
    """What is wrong with a teacher whose accuracy chance explains; None where nothing is.

    Args:
        evaluation: of the dense model.
        majority: of the same rows.

    Returns:
        A sentence, where the accuracy is less than two standard errors above the majority rate; the error is that of
        the accuracy of so many rows if the majority rate were the true one.
    """
    rate = majority.rate / 100
    error = 100 * math.sqrt(rate * (1 - rate) / len(evaluation.labels))
    if evaluation.accuracy > majority.rate + 2 * error:
        return None
    return (
        f"the dense model is right on {evaluation.accuracy:.1f}% of {len(evaluation.labels)} rows, and always saying "
        f"{majority.label!r} on {majority.rate:.1f}% (standard error {error:.1f}): it has learned nothing that "
        "selectors could keep. Fine-tune it, for more epochs or at another learning rate, before anything else"
    )


def caution_selectors(evaluation: Evaluation, name: str) -> str | None:
    """What is wrong with selectors that decide nothing; None where they do.

    Args:
        evaluation: of the reducing model, in policy mode.
        name: of the model, such as ``"alpha 1"``.
    """
    rows = len(evaluation.lengths)
    if (evaluation.kept == evaluation.lengths[:, None]).all():
        return f"{name}: the selectors keep every token of {rows} rows, nothing is saved: take a larger alpha"
    if (evaluation.kept[:, 0] <= 1).all() and (evaluation.lengths > 1).any():
        return (
            f"{name}: the selectors keep nothing but the first token of {rows} rows: take a smaller alpha, or train "
            "the selectors for longer"
        )
    return None
