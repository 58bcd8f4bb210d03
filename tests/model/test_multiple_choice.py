"""What a question's options share: their selection, and the tokens that it may not drop."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_protected_tokens_stay_and_may_exceed_the_budget(tiny_model, random_rows, answer, backbone):
    model = tiny_model("multiple-choice", backbone)
    (row,) = random_rows(model, [20])
    row["question_ends"] = np.array([8])
    for keep, counts in (((0.1, 0.1), [13, 13]), ((0.7, 0.5), [14, 13]), (None, None)):
        _, kept = answer(model, row, keep)
        for step in kept:
            assert {0, *range(8, 20)} <= set(step[0])
        if counts:
            assert [len(step[0]) for step in kept] == counts


@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_options_share_one_selection_by_the_mean_of_their_logits(tiny_model, random_rows, backbone):
    model = tiny_model("multiple-choice", backbone)
    (row,) = random_rows(model, [24])
    row["attention_mask"][:] = 1
    row["question_ends"] = np.array([24])  # nothing but [CLS] is protected
    inputs = {name: torch.from_numpy(array) for name, array in row.items()}
    with torch.inference_mode():
        output = model(**inputs)
        logits = []
        for option in range(3):
            arguments = {"input_ids": inputs["input_ids"][:, option]}
            if "token_type_ids" in model.token_inputs:
                arguments["token_type_ids"] = inputs["token_type_ids"][:, option]
            states = model.encoder_layers[0](model.backbone.embeddings(**arguments), attention_mask=None)
            states = states[0] if isinstance(states, tuple) else states
            logits.append(model.selectors[0](states))
    mean = sum(logits) / 3
    torch.testing.assert_close(output.decisions[0].scores, mean, rtol=0, atol=1e-5)
    wanted = (mean >= 0).long()
    wanted[:, 0] = 1
    assert output.keep_masks[0].equal(wanted)
    assert any(not ((one >= 0) == (mean >= 0)).all() for one in logits)  # the mean decides, not one option
