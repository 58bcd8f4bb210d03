"""Pictures of a run: what happened over its steps, and accuracy over FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot_metrics(lines: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Reward, kept fractions and accuracy over the steps of each phase.

    Args:
        lines: see `read_metrics`.
        file: a PNG to write.
    """
    phases = list(dict.fromkeys(line["phase"] for line in lines))
    kept = sorted({name for line in lines for name in line if name.startswith("kept_")})
    panels = (("reward",), tuple(kept), ("accuracy",))
    figure = Figure(figsize=(4.5 * len(phases), 7), layout="constrained")
    grid = figure.subplots(len(panels), len(phases), squeeze=False, sharex="col")
    for column, phase in enumerate(phases):
        own = [line for line in lines if line["phase"] == phase]
        for row, names in enumerate(panels):
            axes = grid[row][column]
            for name in names:
                points = [(line["step"], line[name]) for line in own if name in line]
                if points:
                    axes.plot(*zip(*points, strict=True), label=name.replace("_", " after reduction "))
            if len(axes.lines) > 1:
                axes.legend()
            if column == 0:
                axes.set_ylabel("kept fraction" if row == 1 else names[0])
        grid[0][column].set_title(phase)
        grid[-1][column].set_xlabel("step")
    figure.savefig(file, dpi=120)


def plot_trade_off(points: Sequence[tuple[str, float, float]], teacher: float, file: Path) -> None:
    """Accuracy over the FLOPs ratio.

    Args:
        points: name, exact FLOPs ratio, accuracy in percent.
        teacher: accuracy of the dense teacher in percent.
        file: a PNG to write.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(teacher, linestyle="--", color="gray", label="dense teacher")
    ordered = sorted(points, key=lambda point: point[1])
    axes.plot([ratio for _, ratio, _ in ordered], [accuracy for *_, accuracy in ordered], marker="o", label="TR-BERT")
    for name, ratio, accuracy in ordered:
        axes.annotate(name, (ratio, accuracy), textcoords="offset points", xytext=(4, 4))
    axes.set_xlabel("FLOPs saved, x (exact count)")
    axes.set_ylabel("accuracy, %")
    axes.legend()
    figure.savefig(file, dpi=120)
