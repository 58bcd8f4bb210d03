"""The metrics of a run: one JSON line every few steps, and a plot of them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from trbert_deploy.bundle.folder import whole_file


class Metrics:
    """Averages measures over a few steps and appends them to metrics.jsonl.

    Attributes:
        latest: the last averages that were written, or the first step's own.
    """

    def __init__(self, file: Path, *, enabled: bool = True) -> None:
        self._file, self._enabled = file, enabled
        self._phase = ""
        self._window: dict[str, list[float]] = defaultdict(list)
        self.latest: dict[str, float] = {}

    def begin(self, phase: str, done: int) -> None:
        """Go on with a phase after `done` of its steps: lines of later ones, written before a kill, are dropped."""
        self._phase, self.latest = phase, {}
        self._window.clear()
        if not self._enabled or not self._file.exists():
            return
        kept = [line for line in read_metrics(self._file) if line["phase"] != phase or line["step"] <= done]
        with whole_file(self._file) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def add(self, step: int, measures: dict[str, float], *, write: bool) -> None:
        """Take one step's measures; with `write`, give out the average of those since the last line."""
        for name, value in measures.items():
            self._window[name].append(value)
        averages = {name: sum(values) / len(values) for name, values in self._window.items()}
        if not self.latest:
            self.latest = averages
        if not write:
            return
        self.latest = averages
        self._window.clear()
        if self._enabled:
            with self._file.open("a", encoding="utf-8") as file:
                rounded = {name: round(value, 6) for name, value in averages.items()}
                file.write(json.dumps({"phase": self._phase, "step": step, **rounded}) + "\n")


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; one that a kill cut short is left out."""
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
