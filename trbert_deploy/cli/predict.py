"""`trbert-deploy predict`: text in, JSON lines out, or for people which words were kept."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trbert_deploy.cli.options import (
    BundleArgument,
    DeviceOption,
    EnginesOption,
    ModeOption,
    ProviderOption,
    RuntimeOption,
    ThreadsOption,
)
from trbert_deploy.cli.output import stderr
from trbert_deploy.core.errors import TRBertError


def predict(
    bundle: BundleArgument,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts to answer.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="JSON lines (also .xz or .gz; - is the standard input), e.g. "
            '{"id": 1, "text": "...", "text_pair": "..."}. id is handed through, other keys are ignored.',
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the answers to a file, whole or not at all, not to stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what stands at --out.")] = False,
    show_selection: Annotated[
        bool,
        typer.Option(
            "--show-selection",
            help="Show which words each reduction keeps, not JSON: in colours, without them a · for those it drops. "
            "--out FILE.html makes a page of it.",
        ),
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows that run together.")] = 32,
    runtime: RuntimeOption = "ort",
    provider: ProviderOption = None,
    device: DeviceOption = None,
    mode: ModeOption = "staged",
    threads: ThreadsOption = None,
    engines: EnginesOption = None,
) -> None:
    """Answer texts, or JSON lines from a file or the standard input: a JSON line each, in order.

    A file may be of any length: it is read 64 batches at a time, which are sorted by length, answered and
    written. Where line N is broken, the answers to all lines before it are written to stdout, and the error
    names N; --out is then left as it was.
    """
    items = _items(texts, data)
    from trbert_deploy.api import load
    from trbert_deploy.cli import show_selection as selection
    from trbert_deploy.text.prediction import predict_rows

    quiet = not stderr.is_terminal or (out is None and sys.stdout.isatty())
    with (
        _whole_file(out, force) as stream,
        load(
            bundle,
            runtime=runtime,
            provider=provider,
            device=device,
            mode=mode,
            threads=threads,
            engines=engines,
        ) as engine,
        _progress(quiet) as progress,
    ):
        task = progress.add_task("predict", total=len(texts) if texts else None)
        answers = predict_rows(
            engine,
            selection.items_of_text(items) if show_selection else items,
            batch_size=batch_size,
            on_progress=lambda rows: progress.advance(task, rows),
        )
        if show_selection:
            selection.write(engine, answers, stream, out)
        else:
            for answered in answers:
                stream.write(json.dumps(answered.answer, ensure_ascii=False) + "\n")


def _items(texts: list[str] | None, data: str | None) -> Iterable[Any]:
    from trbert_deploy.text.json_lines import read_json_lines

    if texts and data is not None:
        raise typer.BadParameter("give texts or --data, not both")
    if texts:
        return texts
    if data is not None:
        return read_json_lines(data)
    if sys.stdin is not None and not sys.stdin.isatty():
        lines = read_json_lines("-")
        if (first := next(lines, None)) is not None:
            return chain([first], lines)
    raise typer.BadParameter("no input: give texts, --data FILE, or JSON lines on the standard input")


def _progress(quiet: bool) -> Progress:
    """A bar on stderr; stdout stays as it is, so that results can be redirected."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=stderr,
        disable=quiet,
        redirect_stdout=False,
        redirect_stderr=False,
    )


@contextlib.contextmanager
def _whole_file(out: Path | None, force: bool) -> Iterator[TextIO]:
    """Stdout; or a file beside `out`, which takes its place if the block ends well and is removed if not."""
    if out is None:
        try:
            yield sys.stdout
        finally:
            sys.stdout.flush()
        return
    if out.exists() and not out.is_file():
        raise TRBertError(f"{out} is not a file", "give another --out")
    if out.exists() and not force:
        raise TRBertError(f"{out} exists", "give another --out, or --force to replace it")
    from trbert_deploy.bundle.folder import whole_file

    try:
        with whole_file(out) as partial, partial.open("w", encoding="utf-8") as stream:
            yield stream
    except OSError as error:
        raise TRBertError(f"{out} cannot be written: {error.strerror or error}") from error
