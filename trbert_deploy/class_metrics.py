"""Precision, recall and F1 of every class, and what always naming the most common one would be worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score, precision_recall_fscore_support

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassMetrics:
    """How well one class is told from the others, in percent; 0 where nothing can be divided by.

    Attributes:
        label: its name.
        rows: that are of it.
        precision: of the rows that were said to be of it, how many are.
        recall: of its rows, how many were said to be.
        f1: the harmonic mean of the two.
    """

    label: str
    rows: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Majority:
    """The most common class.

    Attributes:
        label: its name.
        rate: percent of the rows: the accuracy of always naming it.
    """

    label: str
    rate: float


def macro_f1(labels: IntArray, predicted: IntArray) -> float:
    """Percent: the mean F1 of the classes that occur, in the labels or in the predictions, int64 [rows] both."""
    return float(f1_score(labels, predicted, average="macro", zero_division=0) * 100)


def class_metrics(labels: IntArray, predicted: IntArray, names: Sequence[str]) -> list[ClassMetrics]:
    """The metrics of every class.

    Args:
        labels: int64 [rows], the class of each row.
        predicted: int64 [rows].
        names: of the classes, in order.
    """
    precision, recall, f1, rows = precision_recall_fscore_support(
        labels, predicted, labels=range(len(names)), zero_division=0
    )
    columns = (names, rows.tolist(), *((100 * column).tolist() for column in (precision, recall, f1)))
    return [ClassMetrics(*row) for row in zip(*columns, strict=True)]


def majority(labels: IntArray, names: Sequence[str]) -> Majority:
    """The most common class of the rows, int64 [rows]; of equals the first."""
    counts = np.bincount(labels, minlength=len(names))
    return Majority(names[int(counts.argmax())], float(counts.max() / counts.sum() * 100))
