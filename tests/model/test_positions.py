"""Where the tokens that a reduction decides on stand in the original row."""

from __future__ import annotations

import pytest
import torch

from trbert_deploy.model import by_policy, run_stages


@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
@pytest.mark.parametrize("task", ["sequence-classification", "multiple-choice", "question-answering", "wikihop"])
def test_who_decides_is_told_where_tokens_stood_in_the_row(tiny_model, random_rows, batch_of, answer, task, backbone):
    model = tiny_model(task, backbone, layers=6, reduction_layers=[1, 3, 4])
    arrays = batch_of(random_rows(model, [5, 21, 1, 13]), width=23)
    seen = []

    def remember(reduction, scores, inputs):
        keep = by_policy(reduction, scores, inputs)
        seen.append([row[real].tolist() for row, real in zip(scores.positions, scores.candidates, strict=True)])
        return keep

    with torch.inference_mode():
        run_stages(model, {name: torch.from_numpy(array) for name, array in arrays.items()}, remember)
    _, kept = answer(model, arrays)
    assert seen[0] == [list(range(length)) for length in (5, 21, 1, 13)]
    assert seen[1:] == kept[:-1]
    assert any(row != list(range(len(row))) for row in kept[0])  # else places and positions are the same
