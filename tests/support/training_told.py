"""Trainings that remember what they tell, and are killed on the way."""

from __future__ import annotations

from trbert_deploy.training.reporting import Progress, Reporter


class KilledError(Exception):
    """The end of a process."""


class Told(Reporter):
    """Remembers everything, in order: notes, warnings and how far it is; ends the run after a step of a phase."""

    def __init__(
        self, phase: str | None = None, step: float | None = None, end: type[BaseException] = KilledError
    ) -> None:
        self.phase, self.step, self.end = phase, step, end
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.progresses: list[Progress] = []
        self.order: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)
        self.order.append("note")

    def warn(self, line: str) -> None:
        self.warnings.append(line)
        self.order.append("warning")

    def progress(self, progress: Progress) -> None:
        self.progresses.append(progress)
        self.order.append(progress.part)
        if self.phase and progress.part.endswith(self.phase) and progress.done == self.step:
            raise self.end
