"""How far a training is: a bar for each part on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column

from trbert_deploy.cli.output import note, stderr
from trbert_deploy.training.reporting import LineReporter, Progress, Reporter, lines


@contextmanager
def training_reporter() -> Iterator[Reporter]:
    """What `trbert_deploy.training.run.train` is to report to."""
    if not stderr.is_terminal:
        with lines(note) as reporter:
            yield reporter
        return
    with make_bars(stderr) as bars:
        yield BarReporter(bars)


def make_bars(console: Console) -> Bars:
    """Bars that keep name, bar and numbers however narrow the terminal is."""
    return Bars(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=26)),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=9)),
        TextColumn("{task.fields[latest]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=console,
        expand=True,
    )


class BarReporter(LineReporter):
    """Notes and warnings as lines, progress as bars."""

    def __init__(self, bars: Bars) -> None:
        super().__init__(note)
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def progress(self, progress: Progress) -> None:
        """See `Reporter.progress`."""
        if progress.part not in self._tasks:
            self._tasks[progress.part] = self._bars.add_task(progress.part, total=progress.total, latest="")
        left = progress.left_text if progress.done < progress.total else ""
        latest = "; ".join(text for text in (left, progress.averages_text) if text)
        done, task = int(progress.done), self._tasks[progress.part]
        self._bars.update(task, completed=done, total=progress.total, latest=latest)
