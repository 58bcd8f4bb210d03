"""`trbert-deploy bench`: how much faster, and what it costs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trbert_deploy.bench.options import BenchOptions
from trbert_deploy.cli.options import JsonOption
from trbert_deploy.cli.output import next_command, note, stderr, stdout, write_json
from trbert_deploy.core.extras import require_export

if TYPE_CHECKING:
    from trbert_deploy.bench.report import Report
    from trbert_deploy.bundle import Bundle


def bench(
    options: BenchOptions,
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="BUNDLE",
            show_default=False,
            help="Folder that `export` wrote; without one, a model that ships with the project is exported once "
            "into your cache.",
        ),
    ] = None,
    as_json: JsonOption = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print everything as GitHub tables, with method and environment.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print how it was measured too, and columns for those who measure.")
    ] = False,
) -> None:
    """Measure a bundle against PyTorch and dense BERT: latency, throughput, accuracy, agreement, FLOPs.

    All backends run interleaved in one process; those that the bundle or this machine lacks are left out with a note.
    """
    if as_json and as_markdown:
        raise typer.BadParameter("--json and --markdown exclude each other")
    from trbert_deploy.bench.runner import run_bench
    from trbert_deploy.text.items import takes_one_text

    opened = _open(bundle)
    with _progress() as progress:
        report = run_bench(opened, options, progress)
    if as_json:
        write_json(report.as_json())
    else:
        _show(report, as_markdown=as_markdown, verbose=verbose)
    for gate in report.gates:
        note(f"{gate.name} {'passed' if gate.passed else 'FAILED'}: {gate.text}")
    if not report.passed:
        raise typer.Exit(1)
    where = shlex.quote(str(opened.folder))
    if opened.manifest.tokenizer is not None and takes_one_text(opened.manifest.task):
        next_command(f"trbert-deploy predict {where} 'A text of some length, such as this one.'")
    else:
        next_command(f"trbert-deploy predict {where} --data FILE.jsonl")


def _open(folder: Path | None) -> Bundle:
    if folder is not None:
        from trbert_deploy.bundle import open_bundle

        return open_bundle(folder)
    require_export("bench without a bundle")
    from trbert_deploy.export.shipped import shipped_bundle

    return shipped_bundle(note)


def _show(report: Report, *, as_markdown: bool, verbose: bool) -> None:
    from trbert_deploy.bench import render

    if as_markdown:
        stdout.print(render.markdown(report), markup=False)
        return
    stdout.print(report.summary, style="bold", markup=False)
    stdout.print()
    stdout.print(render.heading(report), markup=False)
    for table in render.terminal(report, verbose=verbose):
        stdout.print()
        stdout.print(table)
    stdout.print()
    if verbose:
        stdout.print(render.method_line(report), markup=False)
    else:
        stdout.print("How it was measured: --verbose")
    for line in report.notes:
        note(f"note: {line}")


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal, else a line for each phase."""
    if not stderr.is_terminal:
        seen: set[str] = set()

        def line(phase: str, done: float) -> None:
            if phase not in seen:
                seen.add(phase)
                note(phase)

        yield line
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    # No refreshing thread: it would run while calls are timed.
    with Progress(*columns, console=stderr, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=1.0)

        def show(phase: str, done: float) -> None:
            bar.update(task, description=phase, completed=done, refresh=True)

        yield show
