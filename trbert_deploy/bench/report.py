"""What `bench` returns: plain dataclasses, ready for a table and for JSON alike."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from trbert_deploy.bench.stats import Latency, SpeedUp

#: Grows by its second number when something is added, by its first when readers must be changed.
SCHEMA_VERSION = "1.2"


@dataclass(frozen=True)
class ModelSummary:
    """What was measured.

    Attributes:
        bundle: its folder as given.
        source: what it was exported from.
        task: as in the manifest.
        selection: ``"policy"``, or ``"budget 0.4, 0.15"``.
        precision: of the graphs; a runtime refuses graphs of another than the manifest says.
        parameters: of the model.
        reduction_layers: layers before which tokens are dropped.
    """

    bundle: str
    source: str
    task: str
    selection: str
    precision: str
    parameters: int
    reduction_layers: list[int]


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of a row on average, by both counts of `trbert_deploy.core.flops`.

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
class WorkloadResult:
    """Times of one workload.

    Attributes:
        name: e.g. ``"batch 32"``.
        rows_from: the data's name.
        batch_size: rows of a batch.
        distinct_batches: how many different batches the rounds went through.
        min_length: real tokens of the shortest row; likewise the median and the longest.
        median_length: see `min_length`.
        max_length: see `min_length`.
        latencies: by arm; the bundle's own arm first.
        speed_ups: of the bundle's own arm against each other one.
        flops: of the rows timed.
    """

    name: str
    rows_from: str
    batch_size: int
    distinct_batches: int
    min_length: int
    median_length: float
    max_length: int
    latencies: dict[str, Latency]
    speed_ups: list[SpeedUp]
    flops: Flops


@dataclass(frozen=True)
class Accuracy:
    """Share of labelled rows answered right.

    Attributes:
        rows: how many had a label.
        percent: by arm.
        baseline: the arm that `drop_points` counts from: a dense one where there is one, else the reference.
        drop_points: baseline minus bundle, percentage points; negative where the bundle is better.
    """

    rows: int
    percent: dict[str, float]
    baseline: str | None
    drop_points: float | None


@dataclass(frozen=True)
class KeptAgreement:
    """How like two runtimes' kept sets are at one reduction.

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

    predictions_percent: float
    max_logit_difference: float


@dataclass(frozen=True)
class Agreement:
    """The bundle against the PyTorch reference, row by row.

    Attributes:
        rows: compared.
        predictions_percent: rows whose every prediction (the arg max of each output) is the same.
        max_logit_difference: largest absolute difference of any output.
        reductions: one for each reduction.
        replayed: the same with the reference's kept sets, where it was asked for.
    """

    rows: int
    predictions_percent: float
    max_logit_difference: float
    reductions: list[KeptAgreement]
    replayed: Replayed | None = None


@dataclass(frozen=True)
class Quality:
    """What the speed costs, over all rows of the data.

    Attributes:
        data: the data's name.
        rows: how many.
        accuracy: None where rows have no labels or the task has no classes of whole rows.
        agreement: None without a reference to agree with.
        beside: the same for the bundle under other runtimes, by arm, where they were asked for.
        flops: of all rows.
    """

    data: str
    rows: int
    accuracy: Accuracy | None
    agreement: Agreement | None
    flops: Flops
    beside: dict[str, Agreement] = field(default_factory=dict)


@dataclass(frozen=True)
class GateResult:
    """Whether a limit was kept.

    Attributes:
        name: the option, e.g. ``"--min-speedup"``.
        passed: whether it was.
        text: a sentence with what was measured and what was asked for.
    """

    name: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Report:
    """Everything `bench` found out.

    Attributes:
        model: what was measured.
        environment: where.
        config: the options, as they were resolved.
        method: how, in words, by topic.
        arms: what each arm is, by name; the bundle's own first.
        workloads: the times.
        quality: None where there was no data.
        gates: of the limits that were asked for.
        notes: what was left out, and why.
    """

    model: ModelSummary
    environment: dict[str, str]
    config: dict[str, Any]
    method: dict[str, str]
    arms: dict[str, str]
    workloads: list[WorkloadResult]
    quality: Quality | None
    gates: list[GateResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    created: str = ""
    schema_version: str = SCHEMA_VERSION
    command: str = "bench"

    @property
    def passed(self) -> bool:
        """Whether every gate was."""
        return all(gate.passed for gate in self.gates)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON-ready values, what it is first."""
        values = dataclasses.asdict(self)
        first = {name: values.pop(name) for name in ("schema_version", "command", "created")}
        return first | values
