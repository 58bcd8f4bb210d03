"""Where the command line writes: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trbert_deploy.core import strict_json
from trbert_deploy.core.errors import TRBertError

#: For people: progress, notes, warnings, errors. `NO_COLOR` is respected by rich.
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

#: For results that people read; machine-readable ones go through `write_json`.
stdout = Console(highlight=False, soft_wrap=True)


def write_json(value: Any) -> None:
    """Write one JSON document to stdout.

    Raises:
        TRBertError: a number in it is not finite.
    """
    sys.stdout.write(json_text(value, "the result", indent=2) + "\n")


def json_text(value: Any, what: str, *, indent: int | None = None) -> str:
    """A value as JSON that every reader takes.

    Args:
        value: made of what JSON has.
        what: it is, for the message.
        indent: of a document; None for a single line.

    Raises:
        TRBertError: a number in it is not finite.
    """
    try:
        return strict_json.dumps(value, indent=indent)
    except ValueError as error:
        raise TRBertError(
            f"{what} holds a number that is not finite, which JSON cannot say", "check the bundle: trbert-deploy verify"
        ) from error


def note(text: str) -> None:
    """A line for the user, on stderr."""
    stderr.print(text, markup=False)


def next_command(command: str) -> None:
    """The last line of a verb: what one would type next."""
    stderr.print(f"next: {command}", style="dim", markup=False)


def report_error(error: TRBertError) -> None:
    """``error: ...`` and ``hint: ...`` on stderr."""
    stderr.print(Text.assemble(("error: ", "bold red"), error.message))
    if error.hint:
        stderr.print(Text.assemble(("hint: ", "bold"), error.hint))


def facts_table(facts: dict[str, str], title: str | None = None) -> Table:
    """A table of names and values."""
    table = Table(title=_plain(title), show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, _plain(value))
    return table


def rows_table(headers: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> Table:
    """A table whose words are never cut, however narrow the terminal or the pipe."""
    table = Table(title=_plain(title), box=None, pad_edge=False)
    cells = [*rows]
    for place, header in enumerate(headers):
        words = " ".join([header, *(row[place] for row in cells)]).split()
        table.add_column(header, min_width=max(map(len, words), default=0))
    for row in cells:
        table.add_row(*map(_plain, row))
    return table


def _plain(text: str | None) -> Text | None:
    """As it is: rich reads markup out of the brackets of a str, and a path may have some."""
    return None if text is None else Text(text)
