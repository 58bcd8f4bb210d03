"""How long a run still takes, as far as what has been done tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trbert_deploy.training.reporting import Progress, Reporter


@dataclass(frozen=True)
class Part:
    """A part of a run.

    Attributes:
        name: unlike all others'.
        total: steps or rows.
        unit: ``"steps"`` or ``"rows"``.
        work: FLOPs of one, roughly: only how parts compare matters.
        result: the file or folder that it is there for; None where every call does it again.
    """

    name: str
    total: int
    unit: str
    work: float
    result: Path | None = None

    @property
    def finished(self) -> bool:
        """Whether an earlier call has done it."""
        return self.result is not None and self.result.exists()


class Tracker:
    """Tells how far a run is, with an estimate of the time left.

    The part under way goes on at the speed that it has had so far; parts to come take the time that their work takes at
    the speed of everything that this process has done. What an earlier process did counts for neither.

    Args:
        parts: what is left of the run, in order. One that is begun leaves none before it to be done.
        reporter: who is told.
        clock: seconds.
    """

    def __init__(self, parts: Sequence[Part], reporter: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts, self._reporter, self._clock = parts, reporter, clock
        self._place, self._first, self._done = -1, 0.0, 0.0
        self._started = self._told = clock()
        self._work, self._seconds = 0.0, 0.0  # of parts that are over

    def begin(self, name: str, done: float = 0) -> Callable[[float, int, dict[str, float]], None]:
        """Begin a part, or go on with one.

        Args:
            name: of the part.
            done: what an earlier process did of it.

        Returns:
            To be called after every bit of it: with what is done, the total, and the latest averages.
        """
        if self._place >= 0:
            self._work += (self._done - self._first) * self._parts[self._place].work
            self._seconds += self._told - self._started
        self._place = next(place for place, part in enumerate(self._parts) if part.name == name)
        self._first, self._started = done, self._clock()
        self._tell(done, self._parts[self._place].total, {})
        return self._tell

    def _tell(self, done: float, total: int, averages: dict[str, float]) -> None:
        part = self._parts[self._place]
        self._done, self._told = done, self._clock()
        self._reporter.progress(Progress(part.name, done, total, part.unit, averages, self._seconds_left()))

    def _seconds_left(self) -> float | None:
        here = self._parts[self._place]
        work, seconds = (self._done - self._first) * here.work, self._told - self._started
        all_work, all_seconds = self._work + work, self._seconds + seconds
        if all_work <= 0:
            return None
        pace = all_seconds / all_work
        left_here = (here.total - self._done) * here.work * (seconds / work if work > 0 else pace)
        return left_here + sum(part.total * part.work for part in self._parts[self._place + 1 :]) * pace
