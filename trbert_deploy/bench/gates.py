"""Limits on a report that decide the exit code. One that cannot be evaluated is an error, never a pass."""

from __future__ import annotations

from collections.abc import Sequence

from trbert_deploy.bench.backends import Backends
from trbert_deploy.bench.labels import chooses_a_class, no_class
from trbert_deploy.bench.quality import Accuracy, Quality
from trbert_deploy.bench.report import GateResult, WorkloadResult
from trbert_deploy.bench.workload import Dataset
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.specs import TaskSpec

ACCURACY_GATE = "--max-accuracy-drop"
SPEED_UP_GATE = "--min-speedup"


def check_gates(backends: Backends, task: TaskSpec, dataset: Dataset) -> None:
    """Say at once, before hours of timing, that a gate cannot be evaluated.

    Raises:
        TRBertError: there are no labelled rows that accuracy is counted of, or there is nothing to compare with.
    """
    options = backends.options
    if options.max_accuracy_drop is not None:
        require_baseline(ACCURACY_GATE, backends.accuracy_baseline)
        if not chooses_a_class(task):
            raise TRBertError(f"{ACCURACY_GATE} cannot be checked: {no_class(task)}", f"leave {ACCURACY_GATE} out")
        require_labels(sum(label is not None for label in dataset.labels))
    if options.min_speedup is not None:
        require_baseline(SPEED_UP_GATE, backends.speed_baseline)


def evaluate_gates(backends: Backends, workloads: Sequence[WorkloadResult], quality: Quality) -> list[GateResult]:
    """The gates that were asked for."""
    options, gates = backends.options, []
    if options.max_accuracy_drop is not None:
        gates.append(accuracy_gate(quality.accuracy, options.max_accuracy_drop))
    if options.min_speedup is not None:
        gates.append(speed_up_gate(workloads, backends.speed_baseline, options.min_speedup))
    return gates


def require_labels(labelled_rows: int) -> None:
    """See that there is something to count accuracy by.

    Raises:
        TRBertError: there is not.
    """
    if not labelled_rows:
        raise TRBertError(
            f"{ACCURACY_GATE} cannot be checked: no row of the data has a label to count accuracy by",
            "give labelled rows: --data FILE.jsonl with text and label",
        )


def require_baseline(gate: str, baseline: str | None) -> None:
    """See that a gate has something to compare with.

    Raises:
        TRBertError: it has not.
    """
    if baseline is None:
        raise TRBertError(
            f"{gate} cannot be checked: there is no dense model and no PyTorch reference to compare with",
            "export the bundle again with --with-dense",
        )


def accuracy_gate(accuracy: Accuracy | None, max_drop: float) -> GateResult:
    """Whether the bundle's accuracy lies at most so many percentage points below the baseline's.

    Raises:
        TRBertError: there is no accuracy, or no baseline.
    """
    require_labels(accuracy.rows if accuracy else 0)
    assert accuracy is not None
    require_baseline(ACCURACY_GATE, accuracy.baseline)
    assert accuracy.drop_points is not None
    over = accuracy.drop_points - max_drop
    passed = over <= 1e-9  # shares of whole rows do not subtract exactly
    text = (
        f"accuracy drop against {accuracy.baseline} is {accuracy.drop_points:.2f} points "
        f"({accuracy.rows} rows), {max_drop:g} allowed"
    )
    return GateResult(ACCURACY_GATE, passed, text if passed else f"{text}: {over:.2f} too many")


def speed_up_gate(workloads: Sequence[WorkloadResult], baseline: str | None, minimum: float) -> GateResult:
    """Whether the bundle is at least so many times faster than the baseline on every workload (medians).

    Raises:
        TRBertError: there is no baseline.
    """
    require_baseline(SPEED_UP_GATE, baseline)
    reached = {
        workload.name: next(s.of_medians for s in workload.speed_ups if s.against == baseline) for workload in workloads
    }
    short = {name: value for name, value in reached.items() if not value >= minimum}
    shown = ", ".join(f"{value:.2f} ({name})" for name, value in (short or reached).items())
    text = f"speed-up against {baseline} is {shown}, {minimum:g} demanded"
    if short:
        text += f": {minimum - min(short.values()):.2f} too little"
    return GateResult(SPEED_UP_GATE, not short, text)
