"""What the speed costs, as the report has it: accuracy, agreement with the reference, kept sets, operations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trbert_deploy.class_metrics import ClassMetrics, Majority


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of a row on average, by both counts of `trbert_deploy.core.costs`.

    Attributes:
        upstream_mflops: with reduction, 1e6 a row.
        upstream_dense_mflops: without.
        upstream_ratio: dense over reduced, of the sums over all rows.
        exact_mflops: see `upstream_mflops`.
        exact_dense_mflops: see `upstream_dense_mflops`.
        exact_ratio: see `upstream_ratio`.
        kept_fractions: for each reduction the mean over rows of tokens kept / original length.
    """

    upstream_mflops: float
    upstream_dense_mflops: float
    upstream_ratio: float
    exact_mflops: float
    exact_dense_mflops: float
    exact_ratio: float
    kept_fractions: list[float]


@dataclass(frozen=True)
class Accuracy:
    """Share of labelled rows whose prediction is right.

    Attributes:
        rows: how many had a label.
        percent: by backend.
        baseline: the backend that `drop_points` counts from: a dense one where there is one, else the reference.
        drop_points: baseline minus bundle, percentage points; negative where the bundle is better.
        macro_f1: by backend, percent; none, as of the attributes below, where scikit-learn is not installed.
        classes: the bundle's figures of every class.
        majority: the most common class: what always naming it would be worth.
    """

    rows: int
    percent: dict[str, float]
    baseline: str | None
    drop_points: float | None
    macro_f1: dict[str, float] = field(default_factory=dict)
    classes: list[ClassMetrics] = field(default_factory=list)
    majority: Majority | None = None


@dataclass(frozen=True)
class KeptAgreement:
    """How like two backends' kept sets are at one reduction.

    Attributes:
        mean_jaccard: mean over rows of |both| / |either|.
        flipped_tokens: tokens that one keeps and the other drops, over all rows.
        flipped_rows: rows with such a token.
        flip_percent: `flipped_tokens` by the tokens that reach the reduction in the reference.
        nearest_margin: smallest distance of a selector logit of the reference from changing a kept set: in
            policy mode from 0, in budget mode between the lowest kept and the highest dropped; None where
            nothing was to be decided.
    """

    mean_jaccard: float
    flipped_tokens: int
    flipped_rows: int
    flip_percent: float
    nearest_margin: float | None


@dataclass(frozen=True)
class Replayed:
    """The bundle against the PyTorch reference where both keep the reference's tokens: numeric error alone.

    Attributes:
        predictions_percent: see `Agreement`.
        max_logit_difference: see `Agreement`.
    """

    predictions_percent: float | None
    max_logit_difference: float


@dataclass(frozen=True)
class Agreement:
    """The bundle against the PyTorch reference, row by row.

    Attributes:
        rows: compared.
        predictions_percent: rows whose every prediction (the arg max of each output) is the same; None where nothing is
            chosen, as by a model of a single score.
        max_logit_difference: largest absolute difference of any output.
        reductions: one for each reduction.
        replayed: the same with the reference's kept sets, where it was asked for.
    """

    rows: int
    predictions_percent: float | None
    max_logit_difference: float
    reductions: list[KeptAgreement]
    replayed: Replayed | None = None


@dataclass(frozen=True)
class Quality:
    """What the speed costs, over all rows of the data.

    Attributes:
        data: the data's name.
        rows: how many.
        accuracy: None where rows have no labels or the model does not choose one class a row.
        agreement: None without a reference to agree with.
        flops: of all rows.
        beside: the agreement of the bundle under other runtimes, by backend, where they were asked for.
    """

    data: str
    rows: int
    accuracy: Accuracy | None
    agreement: Agreement | None
    flops: Flops
    beside: dict[str, Agreement] = field(default_factory=dict)
