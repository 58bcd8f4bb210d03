"""A report as tables: for the terminal (rich) and for a README or an issue (GitHub Markdown)."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from trbert_deploy.bench.report import Report
from trbert_deploy.bench.sheets import sheets
from trbert_deploy.core.markdown import markdown_table


def terminal(report: Report, *, verbose: bool) -> list[Table]:
    """The sheets as rich tables."""
    tables = []
    for sheet in sheets(report, verbose=verbose):
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
    """Everything as GitHub tables, the method and the environment below them: a record."""
    parts = [f"**{report.summary}**", heading(report)]
    for sheet in sheets(report, verbose=True):
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
    backends = "; ".join(f"{name} = {what}" for name, what in report.backends.items())
    method = "; ".join(f"{topic}: {text}" for topic, text in report.method.items())
    return f"Backends: {backends}. Method: {method}."
