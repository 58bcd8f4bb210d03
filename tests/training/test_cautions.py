"""Metrics of classes by hand, and what is warned of."""

from __future__ import annotations

import numpy as np
import pytest

from trbert_deploy.class_metrics import ClassMetrics, Majority, class_metrics, macro_f1, majority
from trbert_deploy.training.cautions import caution_selectors, caution_teacher
from trbert_deploy.training.evaluation import Evaluation
from trbert_deploy.training.results import ModelQuality

NAMES = ("a", "b", "c")


@pytest.fixture
def evaluation(tiny_model):
    """Of given labels and predictions; kept tokens and lengths by choice."""

    def make(labels, predicted, kept=None, lengths=None):
        rows = len(labels)
        lengths = np.full(rows, 9) if lengths is None else np.array(lengths)
        kept = np.full((rows, 2), 3) if kept is None else np.array(kept)
        return Evaluation({}, np.array(predicted), kept, np.array(labels), lengths, tiny_model().costs)

    return make


def test_each_class_by_hand(evaluation):
    found = evaluation([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 0, 1, 1, 1])
    assert class_metrics(found.labels, found.predicted, NAMES) == [
        ClassMetrics("a", 4, 75.0, 75.0, 75.0),
        ClassMetrics("b", 6, pytest.approx(500 / 6), pytest.approx(500 / 6), pytest.approx(500 / 6)),
        ClassMetrics("c", 0, 0.0, 0.0, 0.0),
    ]
    assert macro_f1(found.labels, found.predicted) == pytest.approx(
        (75 + 500 / 6) / 2
    )  # what does not occur does not count
    assert majority(found.labels, NAMES) == Majority("b", 60.0)


def test_a_class_that_is_named_wrongly_counts(evaluation):
    found = evaluation([0, 0, 1, 1], [0, 2, 1, 1])
    precision, recall = [metrics.precision for metrics in class_metrics(found.labels, found.predicted, NAMES)], 50.0
    assert precision == [100.0, 100.0, 0.0]
    assert class_metrics(found.labels, found.predicted, NAMES)[0].recall == recall
    assert macro_f1(found.labels, found.predicted) == pytest.approx((100 * 2 / 3 + 100 + 0) / 3)


def test_one_who_always_says_the_same_has_the_accuracy_of_the_majority_and_a_poor_f1(evaluation):
    quality = ModelQuality.of(evaluation([0, 1, 1, 1], [1, 1, 1, 1]), NAMES)
    assert quality.accuracy == 75
    assert quality.macro_f1 == pytest.approx(100 * (6 / 7) / 2)


def test_rows_without_a_single_class_have_an_accuracy_alone(evaluation):
    spans = evaluation([[1, 2], [3, 4]], [[1, 2], [3, 5]])
    assert ModelQuality.of(spans, NAMES) == ModelQuality(50.0)


# -- a teacher at chance -------------------------------------------------------------------------------------


def teacher_right_on(evaluation, right, rows=100, of_first=60):
    labels = np.array([0] * of_first + [1] * (rows - of_first))
    predicted = labels.copy()
    predicted[: rows - right] = 1 - predicted[: rows - right]
    found = evaluation(labels, predicted)
    assert found.accuracy == pytest.approx(100 * right / rows)
    return found


@pytest.mark.parametrize("right", [55, 60, 65, 69])
def test_a_teacher_within_two_standard_errors_of_the_majority_is_warned_of(evaluation, right):
    found = teacher_right_on(evaluation, right)  # the error is the root of 0.6 * 0.4 / 100: 4.9 points
    warning = caution_teacher(found, majority(found.labels, NAMES))
    assert f"is right on {right}.0% of 100 rows, and always saying 'a' on 60.0% (standard error 4.9)" in warning


@pytest.mark.parametrize("right", [70, 75, 100])
def test_a_teacher_that_knows_something_is_not(evaluation, right):
    found = teacher_right_on(evaluation, right)
    assert caution_teacher(found, majority(found.labels, NAMES)) is None


def test_the_more_rows_the_less_is_chance(evaluation):
    found = teacher_right_on(evaluation, 650, rows=1000, of_first=600)  # three errors of 1.5 points and more
    assert caution_teacher(found, majority(found.labels, NAMES)) is None


# -- selectors that decide nothing ---------------------------------------------------------------------------


def test_selectors_that_keep_everything_are_warned_of(evaluation):
    found = evaluation([0, 1], [0, 1], kept=[[9, 9], [4, 4]], lengths=[9, 4])
    assert "alpha 2: the selectors keep every token of 2 rows" in caution_selectors(found, "alpha 2")
    assert "take a larger alpha" in caution_selectors(found, "alpha 2")


def test_selectors_that_keep_the_first_token_alone_are_warned_of(evaluation):
    found = evaluation([0, 1], [0, 1], kept=[[1, 1], [1, 1]], lengths=[9, 4])
    assert "alpha 2: the selectors keep nothing but the first token of 2 rows" in caution_selectors(found, "alpha 2")


@pytest.mark.parametrize("kept", [[[9, 8], [4, 4]], [[1, 1], [2, 1]], [[3, 1], [2, 1]]])
def test_selectors_that_decide_are_not(evaluation, kept):
    assert caution_selectors(evaluation([0, 1], [0, 1], kept=kept, lengths=[9, 4]), "alpha 2") is None
