"""`trbert-deploy predict`: text in, JSON lines out, or for people which words were kept."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from trbert_deploy.cli.options import BundleArgument
from trbert_deploy.cli.output import json_text, stderr
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.flags import flag
from trbert_deploy.runtimes.options import LoadOptions

if TYPE_CHECKING:
    from rich.progress import Progress

_LINES, _PAGES = (".jsonl", ".json"), (".html", ".htm", ".txt")


@dataclass(frozen=True)
class PredictOptions:
    """What to answer, and where the answers go.

    Attributes:
        data: JSON lines (also .xz or .gz; - is the standard input), e.g. {"id": 1, "text": "...", "text_pair": "..."};
            the id is handed through, other keys are ignored.
        out: write the answers to a file, whole or not at all, not to stdout.
        force: replace what stands at --out.
        show_selection: show which words each reduction keeps, not JSON: in colours, without them a · for those it
            drops; --out FILE.html makes a page of it.
        batch_size: rows that run together.
    """

    data: str | None = field(default=None, metadata=flag(metavar="FILE"))
    out: Path | None = None
    force: bool = False
    show_selection: bool = False
    batch_size: int = field(default=32, metadata=flag(minimum=1))


def predict(
    bundle: BundleArgument,
    options: PredictOptions,
    load_options: LoadOptions,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts to answer.", show_default=False)
    ] = None,
) -> None:
    """Answer texts, or JSON lines from a file or the standard input: a JSON line each, in order.

    A file may be of any length: it is read 64 batches at a time, which are sorted by length, answered and
    written. Where line N is broken, the answers to all lines before it are written to stdout, and the error
    names N; --out is then left as it was.
    """
    items, out = _items(texts, options.data), options.out
    if out is not None:
        _check_out(out, options)
    from trbert_deploy.api import load
    from trbert_deploy.cli import show_selection as selection
    from trbert_deploy.text.prediction import predict_rows

    quiet = not stderr.is_terminal or (out is None and sys.stdout.isatty())
    with _whole_file(out) as stream, load(bundle, load_options) as engine, _progress(quiet) as progress:
        task = progress.add_task("predict", total=len(texts) if texts else None)
        answered = predict_rows(
            engine,
            selection.items_of_text(items) if options.show_selection else items,
            batch_size=options.batch_size,
            on_progress=lambda rows: progress.advance(task, rows),
        )
        if options.show_selection:
            selection.write(engine, answered, stream, out)
            return
        for one in answered:
            stream.write(json_text(one.prediction, one.row.name) + "\n")


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


def _check_out(out: Path, options: PredictOptions) -> None:
    """See that a file can be written there, of a form that its name does not belie.

    Raises:
        TRBertError: something stands there, or the name promises another form.
    """
    known, what = (_PAGES, "a page or plain text") if options.show_selection else (_LINES, "JSON lines")
    if out.suffix and out.suffix.lower() not in known:
        raise TRBertError(
            f"--out {out}: what is written is {what}, and a name that ends in {out.suffix} promises something else",
            f"--out {out.with_suffix(known[0])}; known endings are {', '.join(known)}",
        )
    if out.exists() and not out.is_file():
        raise TRBertError(f"{out} is not a file", "give another --out")
    if out.exists() and not options.force:
        raise TRBertError(f"{out} exists", "give another --out, or --force to replace it")


def _progress(quiet: bool) -> Progress:
    """A bar on stderr; stdout stays as it is, so that results can be redirected."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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
def _whole_file(out: Path | None) -> Iterator[TextIO]:
    """Stdout; or a file beside `out`, which takes its place if the block ends well and is removed if not."""
    if out is None:
        try:
            yield sys.stdout
        finally:
            sys.stdout.flush()
        return
    from trbert_deploy.bundle.folder import whole_file

    try:
        with whole_file(out) as partial, partial.open("w", encoding="utf-8") as stream:
            yield stream
    except OSError as error:
        raise TRBertError(f"{out} cannot be written: {error.strerror or error}") from error
