from __future__ import annotations

import numpy as np
import pytest
import torch

from trbert_deploy.core.selection import Selection
from trbert_deploy.model.margin import selection_margins

TASKS = ["sequence-classification", "multiple-choice", "question-answering", "token-classification"]


@pytest.mark.parametrize("keep", [None, [0.6, 0.3]], ids=["policy", "budget"])
@pytest.mark.parametrize("task", TASKS)
def test_moving_every_logit_by_less_than_the_margin_changes_nothing(
    tiny_model, random_rows, batch_of, task, keep, monkeypatch
):
    """The margin is what it says: half of it, in the worst direction, keeps the sets; a little more does not."""
    model = tiny_model(task)
    batch = batch_of(random_rows(model, [23, 9, 40]))
    inputs = {name: torch.from_numpy(array) for name, array in batch.items()}
    with torch.inference_mode():
        output = model(**inputs, keep=keep)
    first = selection_margins(output)[0]
    assert (first >= 0).all()
    decision, kept = output.decisions[0], output.keep_masks[0] > 0
    assert not decision.free[:, 0].any()
    if Selection.of(keep, 2).mode == "policy":
        np.testing.assert_array_equal(kept & decision.free, decision.free & (decision.scores >= 0))
    for row in range(len(first)):
        logits, free = decision.scores[row], decision.free[row]
        if keep is None:
            nearest = logits[free].abs().min()
        else:
            inside, outside = logits[free & kept[row]], logits[free & ~kept[row]]
            nearest = inside.min() - outside.max() if len(inside) and len(outside) else torch.tensor(torch.inf)
        assert first[row] == nearest
