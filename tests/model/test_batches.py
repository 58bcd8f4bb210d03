"""A batch is its rows, whatever stands beside a row and in its padding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from trbert_deploy.core.selection import kept_positions
from trbert_deploy.tasks import TASKS

NAMES = sorted(TASKS.names())
RESTORING = [name for name in NAMES if TASKS.get(name).restores]
SINGLE = [name for name in NAMES if TASKS.get(name).sequences_axis is None]


@pytest.mark.parametrize("keep", [None, (0.4, 0.15)], ids=["policy", "budget"])
@pytest.mark.parametrize("task", NAMES)
@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_a_row_answers_as_alone_in_every_batch(tiny_model, random_rows, batch_of, answer, task, backbone, keep):
    model = tiny_model(task, backbone, seed=1)
    rows = random_rows(model, [5, 1, 33, 2, 12])
    alone = [answer(model, row, keep) for row in rows]
    orders = [*list(itertools.permutations(range(len(rows))))[::37], (2, 1), (0, 3), (1, 1, 3)]
    for order in orders:
        outputs, kept = answer(model, batch_of([rows[i] for i in order]), keep)
        for place, i in enumerate(order):
            assert [step[place] for step in kept] == [step[0] for step in alone[i][1]]
            for name, wanted in alone[i][0].items():
                own = outputs[name][place][tuple(slice(size) for size in wanted[0].shape)]
                np.testing.assert_allclose(own, wanted[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", RESTORING)
def test_outputs_over_padding_are_the_tasks_filler(tiny_model, random_rows, batch_of, answer, task):
    model = tiny_model(task)
    rows = random_rows(model, [4, 9])
    outputs, _ = answer(model, batch_of(rows, width=15))
    for output in model.task.outputs:
        if output.per_token:
            assert (outputs[output.name][0, 4:] == output.padding).all()
            assert (outputs[output.name][1, 9:] == output.padding).all()
            assert (outputs[output.name][1, :9] != output.padding).all()


@pytest.mark.parametrize("task", SINGLE)
def test_what_stands_in_padding_does_not_matter(tiny_model, random_rows, batch_of, answer, task):
    model = tiny_model(task)
    batch = batch_of(random_rows(model, [4, 9]))
    other = dict(batch)
    hidden = batch["attention_mask"] == 0
    other["input_ids"] = np.where(hidden, 77, batch["input_ids"])
    other["token_type_ids"] = np.where(hidden, 1, batch["token_type_ids"])
    wanted, wanted_kept = answer(model, batch)
    outputs, kept = answer(model, other)
    assert kept == wanted_kept
    for name in wanted:
        np.testing.assert_allclose(outputs[name], wanted[name], rtol=0, atol=1e-6)


def test_missing_mask_and_types_mean_all_real_and_zero(tiny_model, random_rows, answer):
    model = tiny_model()
    (row,) = random_rows(model, [9])
    row["token_type_ids"][:] = 0
    wanted, _ = answer(model, row)
    outputs, _ = answer(model, {"input_ids": row["input_ids"]})
    np.testing.assert_array_equal(outputs["logits"], wanted["logits"])


def test_budgets_and_logits_are_reported(tiny_model, random_rows, batch_of):
    model = tiny_model()
    batch = batch_of(random_rows(model, [20, 5]))
    with torch.inference_mode():
        output = model(**{name: torch.from_numpy(array) for name, array in batch.items()}, keep=(0.4, 0.15))
    assert [budget.tolist() for budget in output.budgets] == [[8, 2], [3, 1]]
    chain = kept_positions([mask[0].numpy() for mask in output.keep_masks], full_length=False)
    # the selector's own ranking of the first reduction, by hand
    ranked = np.argsort(-output.decisions[0].scores[0, 1:20].numpy(), kind="stable") + 1
    assert sorted([0, *ranked[:7]]) == chain[0].tolist()


@pytest.mark.parametrize("task", NAMES)
def test_equal_logits_keep_the_lower_positions(tiny_model, random_rows, batch_of, answer, task):
    model = tiny_model(task)
    with torch.no_grad():
        for selector in model.selectors:
            for parameter in selector.parameters():
                parameter.zero_()
    rows = random_rows(model, [20, 7, 1])
    for row in rows:
        if "question_ends" in row:
            row["question_ends"][:] = row["input_ids"].shape[-1]
    _, kept = answer(model, batch_of(rows), (0.4, 0.15))
    assert kept == [[list(range(8)), [0, 1, 2], [0]], [[0, 1, 2], [0, 1], [0]]]
    _, kept = answer(model, batch_of(rows))  # a logit of exactly zero is kept
    assert kept == [[list(range(20)), list(range(7)), [0]]] * 2
