"""What `bench` returns: plain dataclasses, ready for a table and for JSON alike."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from trbert_deploy.bench.options import BenchOptions
from trbert_deploy.bench.quality import Flops, Quality
from trbert_deploy.bench.stats import Latency, SpeedUp
from trbert_deploy.core.options import config_of

#: Grows by its second number when something is added, by its first when readers must be changed.
SCHEMA_VERSION = "2.0"


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
        latencies: by backend; the bundle's own first.
        speed_ups: of the bundle's own backend against each other one.
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
        summary: one sentence for a reader who knows no internals.
        model: what was measured.
        environment: where.
        config: the options, with device and threads as they were chosen.
        method: how, in words, by topic.
        backends: what each backend is, by name; the bundle's own first.
        workloads: the times.
        quality: what the speed costs.
        gates: of the limits that were asked for.
        notes: what was left out, and why.
    """

    summary: str
    model: ModelSummary
    environment: dict[str, str]
    config: BenchOptions
    method: dict[str, str]
    backends: dict[str, str]
    workloads: list[WorkloadResult]
    quality: Quality
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
        return first | values | {"config": config_of(self.config)}
