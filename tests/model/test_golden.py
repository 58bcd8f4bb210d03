"""The ten upstream classes: what upstream answered for a row alone, this answers alone and in any batch."""

from __future__ import annotations

import numpy as np
import pytest

WITHIN_UPSTREAM = 1e-4
WITHIN_BATCH = 1e-5


@pytest.fixture
def case(golden, golden_name):
    return golden(golden_name)


def test_all_upstream_classes_are_there(golden, golden_names):
    assert {golden(name).upstream_class for name in golden_names} == {
        "AUTOBertForSequenceClassification",
        "AUTODistilBertForSequenceClassification",
        "AUTOQABertForQuestionAnswering",
        "AUTOQADistilBertForQuestionAnswering",
        "AUTOQABertForTriviaQuestionAnswering",
        "AUTOMCBertForMultipleChoice",
        "AUTOMCDistilBertForMultipleChoice",
        "AUTOQABertForQuestionAnsweringHotpot",
        "AUTOQABertForWikihopMulti",
    }
    assert len(golden_names) == 10
    assert sum(row.kept is not None for name in golden_names for row in golden(name).rows) == 45


def test_outputs_are_upstreams(case, answer):
    for row in case.rows:
        outputs, _ = answer(case.model, row.inputs)
        assert outputs.keys() == row.outputs.keys()
        for name, wanted in row.outputs.items():
            assert outputs[name].shape == wanted.shape
            np.testing.assert_allclose(outputs[name], wanted, rtol=0, atol=WITHIN_UPSTREAM)


def test_kept_sets_are_upstreams(case, answer):
    for row in case.rows:
        _, kept = answer(case.model, row.inputs)
        width = row.inputs["input_ids"].shape[-1]
        if row.kept is not None:
            assert [step[0] for step in kept[: len(row.kept)]] == row.kept
            # where [CLS] alone is left, upstream skips the second step
            assert all(step[0] == [0] for step in kept[len(row.kept) :])
        if row.kept_fraction is not None:
            counts = [len(step[0]) / width for step in kept[: len(row.kept_fraction)]]
            np.testing.assert_allclose(counts, row.kept_fraction, atol=1e-6)


def test_recorded_selection_is_not_trivial(case):
    """Were nothing dropped, or all, the tests above would show little."""
    counted = [
        (kept, row.inputs["input_ids"].shape[-1])
        for row in case.rows
        for kept in ([len(step) for step in row.kept] if row.kept else [round(f * 1e6) for f in row.kept_fraction])
    ]
    assert len({kept for kept, _ in counted}) >= 4


@pytest.mark.parametrize("keep", [None, (0.4, 0.15), (1.0, 0.34)], ids=["policy", "budget", "budget-second"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_padded_together_answer_as_alone(case, answer, batch_of, keep, seed):
    rng = np.random.default_rng(seed)
    keep = keep and keep[: case.model.num_stages - 1]
    alone = [answer(case.model, row.inputs, keep) for row in case.rows]
    order = [*rng.permutation(len(case.rows)), int(rng.integers(len(case.rows)))]  # one row twice
    widest = max(row.inputs["input_ids"].shape[-1] for row in case.rows)
    outputs, kept = answer(
        case.model, batch_of([case.rows[i].inputs for i in order], width=widest if seed else 96), keep
    )
    for place, row in enumerate(order):
        wanted_outputs, wanted_kept = alone[row]
        assert [step[place] for step in kept] == [step[0] for step in wanted_kept]
        for name, wanted in wanted_outputs.items():
            own = outputs[name][place][tuple(slice(size) for size in wanted[0].shape)]
            np.testing.assert_allclose(own, wanted[0], rtol=0, atol=WITHIN_BATCH)


def test_budget_keeps_exactly_the_rounded_up_fraction(case, answer):
    keep = (0.4, 0.15)[: case.model.num_stages - 1]
    for row in case.rows:
        width = row.inputs["input_ids"].shape[-1]
        _, kept = answer(case.model, row.inputs, keep)
        # 0.4 n and 0.15 n, rounded up; multiple choice keeps [CLS] and what it protects in any case
        protected = 1 + width - int(row.inputs["question_ends"][0]) if case.model.task.protected_from else 1
        wanted = [max(-(-2 * width // 5), protected), max(-(-3 * width // 20), protected)][: len(keep)]
        assert [len(step[0]) for step in kept] == wanted
        assert all(step[0][0] == 0 for step in kept)
