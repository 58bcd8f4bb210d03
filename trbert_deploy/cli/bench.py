"""`trbert-deploy bench`: how much faster, and what it costs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trbert_deploy.cli.options import (
    DeviceOption,
    EnginesOption,
    JsonOption,
    ProviderOption,
    RuntimeOption,
    ThreadsOption,
)
from trbert_deploy.cli.output import next_command, note, stderr, stdout, write_json
from trbert_deploy.core.extras import require_export

if TYPE_CHECKING:
    from trbert_deploy.bench import Report
    from trbert_deploy.bundle import Bundle


def bench(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="BUNDLE",
            show_default=False,
            help="Folder that `export` wrote; without one, a model that ships with the project is exported once "
            "into your cache.",
        ),
    ] = None,
    runtime: RuntimeOption = "ort",
    mode: Annotated[
        Literal["staged", "fused"], typer.Option(help="For ort and trt: a graph a stage, or one graph.")
    ] = "staged",
    provider: ProviderOption = None,
    device: DeviceOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines, for classification with text and label (class name or index). By default the "
            "movie reviews that ship with the package, for other tasks random tokens."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use so many rows of the data at most.")] = None,
    batch_size: Annotated[
        list[str] | None,
        typer.Option(help="Rows of a batch; several as 1,32 or by repeating.", show_default="1,32"),
    ] = None,
    length: Annotated[
        list[str] | None,
        typer.Option(help="Time random rows of exactly so many tokens; several as 128,512 or by repeating."),
    ] = None,
    threads: ThreadsOption = None,
    engines: EnginesOption = None,
    iterations: Annotated[int, typer.Option(min=1, help="Rounds that count; each times every arm once.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, help="Rounds before them that do not count.")] = 3,
    replay_selection: Annotated[
        bool,
        typer.Option(
            "--replay-selection",
            help="Compare with PyTorch once more with PyTorch's kept sets: numeric error apart from flips.",
        ),
    ] = False,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUNTIMES",
            help="Measure other runtimes in the same rounds: ort-cpu, ort-cuda, ort-tensorrt, ort-rtx, trt; several "
            "with commas, or all. What is not there is left out with a note.",
        ),
    ] = None,
    as_json: JsonOption = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print GitHub tables, with method and environment.")
    ] = False,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Exit with 1 where accuracy is further below dense's than this."),
    ] = None,
    min_speedup: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Exit with 1 where a workload's speed-up against dense in the same runtime (without "
            "it, against PyTorch) is smaller.",
        ),
    ] = None,
) -> None:
    """Measure a bundle against PyTorch and dense BERT: latency, throughput, accuracy, agreement, FLOPs.

    Arms run interleaved in one process; those that the bundle or this machine lacks are left out with a note.
    """
    if as_json and as_markdown:
        raise typer.BadParameter("--json and --markdown exclude each other")
    from trbert_deploy.api import default_device
    from trbert_deploy.bench import BenchOptions, run_bench
    from trbert_deploy.text.items import takes_one_text

    options = BenchOptions(
        runtime=runtime,
        mode=mode,
        provider=provider,
        device=device or default_device(runtime, provider),
        engines=engines,
        threads=threads,
        data=data,
        limit=limit,
        batch_sizes=_integers(batch_size or ["1,32"], "--batch-size"),
        lengths=_integers(length or [], "--length"),
        iterations=iterations,
        warmup=warmup,
        max_accuracy_drop=max_accuracy_drop,
        min_speedup=min_speedup,
        replay_selection=replay_selection,
        beside=_runtimes(beside or []),
    )
    opened = _open(bundle)
    with _progress() as progress:
        report = run_bench(opened, options, progress)
    _show(report, as_json=as_json, as_markdown=as_markdown)
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


def _show(report: Report, *, as_json: bool, as_markdown: bool) -> None:
    from trbert_deploy.bench import render

    if as_json:
        write_json(report.as_json())
        return
    if as_markdown:
        stdout.print(render.markdown(report), markup=False)
        return
    stdout.print(render.heading(report), style="bold", markup=False)
    for table in render.terminal(report):
        stdout.print()
        stdout.print(table)
    stdout.print()
    stdout.print(render.method_line(report), markup=False)
    for line in report.notes:
        note(f"note: {line}")


def _runtimes(texts: list[str]) -> tuple[str, ...]:
    from trbert_deploy.bench.arms import BESIDE

    names = [name for text in texts for name in text.split(",")]
    if unknown := sorted({*names} - {*BESIDE, "all"}):
        raise typer.BadParameter(f"--beside takes {', '.join(BESIDE)}, or all, not {unknown[0]!r}")
    return tuple(BESIDE) if "all" in names else tuple(dict.fromkeys(names))


def _integers(texts: list[str], option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for text in texts for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{option} takes numbers such as 1,32, not {','.join(texts)!r}") from None
    if any(number < 1 for number in numbers):
        raise typer.BadParameter(f"{option} takes numbers from 1 on, not {','.join(texts)!r}")
    return tuple(dict.fromkeys(numbers))


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
