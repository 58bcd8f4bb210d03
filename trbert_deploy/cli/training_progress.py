"""How far a training is: a bar for each part on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from trbert_deploy.cli.output import note, stderr
from trbert_deploy.training.reporting import LineReporter, Progress, Reporter, lines


@contextmanager
def training_reporter() -> Iterator[Reporter]:
    """What `trbert_deploy.training.run.train` is to report to."""
    if not stderr.is_terminal:
        with lines(note) as reporter:
            yield reporter
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[latest]}"))
    with Bars(*columns, console=stderr) as bars:
        yield BarReporter(bars)


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
        task = self._tasks[progress.part]
        self._bars.update(task, completed=int(progress.done), total=progress.total, latest=progress.details)
