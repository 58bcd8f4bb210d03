"""What a report shows, as tables before they have a form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trbert_deploy.bench.quality import Accuracy, Agreement, Flops, KeptAgreement, Quality, Replayed
from trbert_deploy.bench.report import Report, WorkloadResult


@dataclass(frozen=True)
class Sheet:
    """A table before it has a form; the first column holds names, the others numbers.

    A line break in a header is where it may be broken to keep its column narrow.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def sheets(report: Report, *, verbose: bool = False) -> list[Sheet]:
    """What a report shows.

    Args:
        report: of `run_bench`.
        verbose: with the columns for those who measure the measurement: quartiles of the rounds, Jaccard indices of
            kept sets, margins of logits.
    """
    quality = report.quality
    found = [_timing(workload, quality.accuracy, verbose) for workload in report.workloads]
    if quality.accuracy is not None and quality.accuracy.majority is not None:
        found += _classes(quality.accuracy)
    found.append(_operations(quality))
    if quality.flops.kept_fractions:
        found.append(_selection(quality, verbose))
    if quality.agreement is not None or quality.beside:
        found.append(_agreement(quality))
    return found


def _timing(workload: WorkloadResult, accuracy: Accuracy | None, verbose: bool) -> Sheet:
    headers = ["backend", "p50\nms", "p90\nms", "p99\nms", "rows/s", "tokens/s", "bundle is\nfaster, x"]
    headers += ["of rounds,\nquartiles"] if verbose else []
    headers += ["FLOPs\nratio, x", "accuracy\n%", "bundle's\nchange, points"]
    speed_ups = {speed_up.against: speed_up for speed_up in workload.speed_ups}
    own = next(iter(workload.latencies))
    rows = []
    for name, latency in workload.latencies.items():
        row = [name, *(f"{ms:.2f}" for ms in (latency.p50_ms, latency.p90_ms, latency.p99_ms))]
        row += [f"{latency.rows_per_second:.1f}", f"{latency.tokens_per_second:.0f}"]
        ratio = speed_ups.get(name)
        row.append(f"{ratio.of_medians:.2f}" if ratio else "-")
        if verbose:
            row.append(f"{ratio.of_rounds_low:.2f}-{ratio.of_rounds_high:.2f}" if ratio else "-")
        row.append(f"{workload.flops.exact_ratio:.2f}" if name.endswith("dense") else "-")
        row += _accuracy_cells(accuracy, name, own)
        rows.append(row)
    lengths = (
        f"{workload.min_length} tokens"
        if workload.min_length == workload.max_length
        else f"{workload.min_length} to {workload.max_length} tokens, median {workload.median_length:g}"
    )
    return Sheet(f"{workload.name}: {workload.rows_from}, rows of {lengths}", headers, rows)


def _accuracy_cells(accuracy: Accuracy | None, name: str, own: str) -> list[str]:
    if accuracy is None or name not in accuracy.percent:
        return ["-", "-"]
    difference = "-" if name == own else f"{accuracy.percent[own] - accuracy.percent[name]:+.2f}"
    return [f"{accuracy.percent[name]:.2f}", difference]


def _classes(accuracy: Accuracy) -> list[Sheet]:
    assert accuracy.majority is not None
    backends = [
        [name, f"{percent:.2f}", f"{accuracy.macro_f1[name]:.2f}"] for name, percent in accuracy.percent.items()
    ]
    always = [f"always {accuracy.majority.label}", f"{accuracy.majority.rate:.2f}", "-"]
    classes = [
        [one.label, f"{one.rows}", f"{one.precision:.2f}", f"{one.recall:.2f}", f"{one.f1:.2f}"]
        for one in accuracy.classes
    ]
    return [
        Sheet(f"accuracy: {accuracy.rows} rows", ["backend", "accuracy\n%", "macro F1\n%"], [*backends, always]),
        Sheet("the bundle, class by class", ["class", "rows", "precision\n%", "recall\n%", "F1\n%"], classes),
    ]


def _operations(quality: Quality) -> Sheet:
    flops: Flops = quality.flops
    return Sheet(
        f"operations a row: {quality.data}, {quality.rows} rows",
        ["count", "reduced\nMFLOPs", "dense\nMFLOPs", "ratio\nx"],
        [
            ["upstream's formula", *_flops_cells(flops.upstream_mflops, flops.upstream_dense_mflops)],
            ["exact", *_flops_cells(flops.exact_mflops, flops.exact_dense_mflops)],
        ],
    )


def _flops_cells(reduced: float, dense: float) -> list[str]:
    return [f"{reduced:.1f}", f"{dense:.1f}", f"{dense / reduced:.2f}"]


def _selection(quality: Quality, verbose: bool) -> Sheet:
    headers = ["reduction", "kept\n%"]
    compared = quality.agreement is not None or bool(quality.beside)
    if compared:
        headers += ["tokens kept otherwise\nthan by torch", "of those\nreached, %", "in so many\nrows"]
        headers += ["Jaccard\nwith torch", "nearest logit's\nmargin"] if verbose else []
    rows = []
    for place, kept in enumerate(quality.flops.kept_fractions):
        row = [f"{place + 1}", f"{100 * kept:.1f}"]
        if quality.agreement is not None:
            row += _kept_cells(quality.agreement.reductions[place], verbose)
        rows.append(row + ["-"] * (len(headers) - len(row)))
        for name, beside in quality.beside.items():
            rows.append([f"{place + 1}, {name}", "-", *_kept_cells(beside.reductions[place], verbose)])
    return Sheet(f"selection: {quality.data}, {quality.rows} rows", headers, rows)


def _kept_cells(like: KeptAgreement, verbose: bool) -> list[str]:
    cells = [f"{like.flipped_tokens}", f"{like.flip_percent:.2f}", f"{like.flipped_rows}"]
    if verbose:
        cells += [f"{like.mean_jaccard:.6f}", "-" if like.nearest_margin is None else f"{like.nearest_margin:.1e}"]
    return cells


def _agreement(quality: Quality) -> Sheet:
    own = {"": quality.agreement} if quality.agreement is not None else {}
    agreements = own | {f", {name}": agreement for name, agreement in quality.beside.items()}
    found: dict[str, Agreement | Replayed | None] = {}
    for name, agreement in agreements.items():
        found |= {f"its own{name}": agreement, f"the reference's{name}": agreement.replayed}
    return Sheet(
        f"agreement with the PyTorch reference: {quality.rows} rows",
        ["kept sets", "same predictions\n%", "largest difference\nof an output"],
        [
            [
                kept,
                "-" if one.predictions_percent is None else f"{one.predictions_percent:.2f}",
                f"{one.max_logit_difference:.1e}",
            ]
            for kept, one in found.items()
            if one is not None
        ],
    )
