"""A report as tables: for the terminal (rich) and for a README or an issue (GitHub Markdown)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from trbert_deploy.bench.report import (
    Accuracy,
    Agreement,
    Flops,
    KeptAgreement,
    Quality,
    Replayed,
    Report,
    WorkloadResult,
)
from trbert_deploy.core.markdown import markdown_table


@dataclass(frozen=True)
class Sheet:
    """A table before it has a form; the first column holds names, the others numbers.

    A line break in a header is where it may be broken to keep its column narrow.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def sheets(report: Report) -> list[Sheet]:
    """What a report shows."""
    accuracy = report.quality.accuracy if report.quality else None
    found = [_timing(workload, accuracy) for workload in report.workloads]
    if report.quality is not None:
        found.append(_operations(report.quality))
        if report.quality.flops.kept_fractions:
            found.append(_selection(report.quality))
        if report.quality.agreement is not None or report.quality.beside:
            found.append(_agreement(report.quality))
    return found


def terminal(report: Report) -> list[Table]:
    """The sheets as rich tables."""
    tables = []
    for sheet in sheets(report):
        table = Table(title=Text(sheet.title), title_justify="left", box=None, pad_edge=False, padding=(0, 1))
        for place, header in enumerate(sheet.headers):
            cells = [*header.split("\n"), *(row[place] for row in sheet.rows)]
            table.add_column(
                Text(header),
                justify="right" if place else "left",
                no_wrap=True,
                min_width=max(map(len, cells)),  # numbers are never cut: a narrow terminal wraps lines instead
            )
        for row in sheet.rows:
            table.add_row(*(Text(cell) for cell in row))
        tables.append(table)
    return tables


def markdown(report: Report) -> str:
    """The sheets as GitHub tables, the method and the environment below them."""
    parts = [f"**{heading(report)}**"]
    for sheet in sheets(report):
        headers = [header.replace("\n", " ") for header in sheet.headers]
        parts.append(f"{sheet.title}\n\n{markdown_table(headers, sheet.rows)}")
    parts.append(method_line(report))
    parts += [f"Note: {note}." for note in report.notes]
    parts.append("\n".join(f"- {name}: {value}" for name, value in report.environment.items()))
    return "\n\n".join(parts)


def heading(report: Report) -> str:
    """One line: which model, how it selects."""
    model = report.model
    return (
        f"{model.source}: {model.task}, {model.parameters:,} parameters, {model.precision}, selection {model.selection}"
    )


def method_line(report: Report) -> str:
    """How it was measured, in one paragraph."""
    arms = "; ".join(f"{name} = {what}" for name, what in report.arms.items())
    method = "; ".join(f"{topic}: {text}" for topic, text in report.method.items())
    return f"Arms: {arms}. Method: {method}."


def _timing(workload: WorkloadResult, accuracy: Accuracy | None) -> Sheet:
    headers = ["arm", "p50\nms", "p90\nms", "p99\nms", "rows/s", "tokens/s"]
    headers += ["bundle is\nfaster, x", "of rounds,\nquartiles", "FLOPs\nratio, x"]
    headers += ["accuracy\n%", "bundle's\nchange, points"]
    speed_ups = {speed_up.against: speed_up for speed_up in workload.speed_ups}
    own = next(iter(workload.latencies))
    rows = []
    for name, latency in workload.latencies.items():
        row = [name, *(f"{ms:.2f}" for ms in (latency.p50_ms, latency.p90_ms, latency.p99_ms))]
        row += [f"{latency.rows_per_second:.1f}", f"{latency.tokens_per_second:.0f}"]
        if name in speed_ups:
            ratio = speed_ups[name]
            row += [f"{ratio.of_medians:.2f}", f"{ratio.of_rounds_low:.2f}-{ratio.of_rounds_high:.2f}"]
        else:
            row += ["-", "-"]
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


def _selection(quality: Quality) -> Sheet:
    agreement = quality.agreement
    rows = []
    for place, kept in enumerate(quality.flops.kept_fractions):
        row = [f"{place + 1}", f"{100 * kept:.1f}"]
        if agreement is not None:
            row += _kept_cells(agreement.reductions[place])
        elif quality.beside:
            row += ["-"] * 5
        rows.append(row)
        for name, beside in quality.beside.items():
            rows.append([f"{place + 1}, {name}", "-", *_kept_cells(beside.reductions[place])])
    headers = ["reduction", "kept\n%"]
    if agreement is not None or quality.beside:
        headers += ["Jaccard\nwith torch", "flipped\ntokens", "of those\nreached, %"]
        headers += ["flipped\nrows", "nearest logit's\nmargin"]
    return Sheet(f"selection: {quality.data}, {quality.rows} rows", headers, rows)


def _kept_cells(like: KeptAgreement) -> list[str]:
    margin = "-" if like.nearest_margin is None else f"{like.nearest_margin:.1e}"
    numbers = [f"{like.mean_jaccard:.6f}", f"{like.flipped_tokens}", f"{like.flip_percent:.2f}"]
    return [*numbers, f"{like.flipped_rows}", margin]


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
            [kept, f"{one.predictions_percent:.2f}", f"{one.max_logit_difference:.1e}"]
            for kept, one in found.items()
            if one is not None
        ],
    )
