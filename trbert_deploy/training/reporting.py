"""What a training tells while it runs, and lines of it for where there is no terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

_EVERY = 30.0  # seconds


@dataclass(frozen=True)
class Progress:
    """How far a part of a run is.

    Attributes:
        part: such as ``"alpha 1 selectors"``.
        done: of `total`; between two steps a fraction.
        total: steps or rows.
        unit: ``"steps"`` or ``"rows"``.
        averages: the latest ones of the loss and so on, by name.
        seconds_left: an estimate for the whole run; None while nothing has been measured.
    """

    part: str
    done: float
    total: int
    unit: str
    averages: Mapping[str, float] = field(default_factory=dict)
    seconds_left: float | None = None

    @property
    def averages_text(self) -> str:
        """The averages, for people."""
        return ", ".join(f"{name} {value:.3f}" for name, value in self.averages.items())

    @property
    def left_text(self) -> str:
        """The time left, for people; empty where it is not known."""
        return "" if self.seconds_left is None else f"{duration(self.seconds_left)} left"

    def __str__(self) -> str:
        """A line for people."""
        details = "; ".join(text for text in (self.averages_text, self.left_text) if text)
        said = f"{self.part}: {int(self.done)} of {self.total} {self.unit}"
        return f"{said}, {details}" if details else said


def duration(seconds: float) -> str:
    """A time that is only known roughly, such as ``"about 2 h 10 min"``."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"about {hours} h {minutes} min" if hours < 48 else f"about {hours // 24} days"


class Reporter:
    """What a training tells, in the main process; this one keeps it to itself."""

    def note(self, line: str) -> None:
        """Something to know."""

    def warn(self, line: str) -> None:
        """Something to look at before going on."""

    def progress(self, progress: Progress) -> None:
        """How far it is: at the beginning of a part, and after every bit of it."""


class LineReporter(Reporter):
    """Lines: the start and the end of each part, and what is going on in between, however long a step takes.

    Args:
        write: takes a line.
        clock: seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._latest: tuple[float, Progress] | None = None

    def note(self, line: str) -> None:
        """See `Reporter.note`."""
        self._write(line)

    def warn(self, line: str) -> None:
        """See `Reporter.warn`."""
        self._write(f"warning: {line}")

    def progress(self, progress: Progress) -> None:
        """See `Reporter.progress`."""
        begins = self._latest is None or self._latest[1].part != progress.part
        self._latest = (self._clock(), progress)
        if begins or progress.done == progress.total:
            self._write(str(progress))

    def repeat(self) -> None:
        """Write how far it is, as it is known by now."""
        if self._latest is None or self._latest[1].done == self._latest[1].total:
            return
        when, progress = self._latest
        if progress.seconds_left is not None:
            progress = replace(progress, seconds_left=max(0.0, progress.seconds_left - (self._clock() - when)))
        self._write(str(progress))


@contextmanager
def lines(write: Callable[[str], None], every: float = _EVERY) -> Iterator[Reporter]:
    """A `LineReporter` that writes every so many seconds at least, while a part is under way.

    Args:
        write: takes a line; called from another thread too.
        every: seconds.
    """
    reporter, ended = LineReporter(write), threading.Event()

    def repeat() -> None:
        while not ended.wait(every):
            reporter.repeat()

    thread = threading.Thread(target=repeat, name="training-progress", daemon=True)
    thread.start()
    try:
        yield reporter
    finally:
        ended.set()
        thread.join()
