"""The report in one sentence, for a reader who knows no internals."""

from __future__ import annotations

from collections.abc import Sequence

from trbert_deploy.bench.backends import TORCH
from trbert_deploy.bench.quality import Quality
from trbert_deploy.bench.report import WorkloadResult


def sentence(workloads: Sequence[WorkloadResult], baseline: str | None, quality: Quality, *, reduces: bool) -> str:
    """How much faster the bundle is than what it replaces, and what that costs.

    Args:
        workloads: the times.
        baseline: the backend that it is compared with; None where there is none.
        quality: of the bundle.
        reduces: whether it drops tokens at all.
    """
    text = f"{_speed(workloads, baseline, reduces)}{_cost(quality)}."
    return text[:1].upper() + text[1:]


def _speed(workloads: Sequence[WorkloadResult], baseline: str | None, reduces: bool) -> str:
    if baseline is None:
        own = [(one.name, next(iter(one.latencies.values())).p50_ms) for one in workloads]
        return ", ".join(f"{ms:.1f} ms at {name}" for name, ms in own) + ", with nothing to compare it with"
    if baseline == TORCH:
        what = "PyTorch with the same token reduction" if reduces else "PyTorch"
    else:
        what = "the same model without token reduction"
    said: list[str] = []
    before = ""
    for workload in workloads:
        ratio = next(one.of_medians for one in workload.speed_ups if one.against == baseline)
        times, word = _compared(ratio)
        if not said:
            than = f"{times} {word} than {what}" if word else f"as fast as {what}"
        elif word == before:
            than = times or "as fast"
        else:
            than = f"{times} {word}" if word else "as fast"
        said.append(f"{than} at {workload.name}")
        before = word
    return ", ".join(said)


def _compared(ratio: float) -> tuple[str, str]:
    """``("1.6 times", "faster")``, or two empty strings where there is no difference to speak of."""
    if f"{ratio:.1f}" == "1.0":
        return "", ""
    return (f"{ratio:.1f} times", "faster") if ratio > 1 else (f"{1 / ratio:.1f} times", "slower")


def _cost(quality: Quality) -> str:
    """Accuracy against the baseline's, or else how often the predictions are PyTorch's."""
    accuracy, agreement = quality.accuracy, quality.agreement
    if accuracy is not None:
        own = next(iter(accuracy.percent.values()))
        against = f" against {accuracy.percent[accuracy.baseline]:.1f} %" if accuracy.baseline else ""
        return f"; accuracy {own:.1f} %{against}"
    if agreement is not None and agreement.predictions_percent is not None:
        return f"; the predictions of {agreement.predictions_percent:.1f} % of {agreement.rows} rows are PyTorch's"
    return ""
