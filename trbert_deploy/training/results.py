"""What a training gave: accuracy over FLOPs, as JSON, as a table and as a picture."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trbert_deploy.bundle.folder import whole_file
from trbert_deploy.core.markdown import markdown_table
from trbert_deploy.runtimes.environment import environment
from trbert_deploy.training.plots import plot_trade_off

SCHEMA_VERSION = "1.0"


@dataclass(frozen=True)
class TrainedModel:
    """One point of the trade-off.

    Attributes:
        alpha: the price of tokens that it was trained with.
        folder: the checkpoint.
        accuracy: percent, in policy mode.
        kept: mean fractions of a row's own tokens after each reduction.
        flops_ratio: exact FLOPs of the dense model over its own, on the same rows.
    """

    alpha: float
    folder: str
    accuracy: float
    kept: list[float]
    flops_ratio: float


@dataclass(frozen=True)
class TrainingResults:
    """Everything a run gave.

    Attributes:
        teacher: folder of the dense model.
        teacher_accuracy: percent.
        rows: how many labelled rows the accuracies are of.
        models: one for each alpha, ascending.
        config: what was asked for.
    """

    teacher: str
    teacher_accuracy: float
    rows: int
    models: list[TrainedModel]
    config: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The report: schema_version, command, environment, config, results."""
        facts = asdict(self)
        del facts["config"]
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "train",
            "environment": environment(),
            "config": self.config,
            "results": facts,
        }

    def table(self) -> list[list[str]]:
        """Header and rows, as text."""
        lines = [["model", "accuracy, %", "below the teacher, points", "tokens kept, %", "FLOPs saved, x (exact)"]]
        lines.append(["dense teacher", f"{self.teacher_accuracy:.2f}", "", "", "1.00"])
        for model in self.models:
            lines.append(
                [
                    f"alpha {model.alpha:g}",
                    f"{model.accuracy:.2f}",
                    f"{self.teacher_accuracy - model.accuracy:.2f}",
                    ", ".join(f"{fraction * 100:.1f}" for fraction in model.kept),
                    f"{model.flops_ratio:.2f}",
                ]
            )
        return lines

    def markdown(self) -> str:
        """The table, with the number of rows below it."""
        header, *rows = self.table()
        return f"{markdown_table(header, rows)}\n\n{self.rows} rows.\n"


def read_models(folder: Path) -> list[TrainedModel]:
    """The models that a run's results.json lists; none where there is none yet."""
    file = folder / "results.json"
    if not file.exists():
        return []
    return [TrainedModel(**model) for model in json.loads(file.read_text(encoding="utf-8"))["results"]["models"]]


def write_results(results: TrainingResults, folder: Path) -> None:
    """Write results.json, results.md and trade_off.png."""
    with whole_file(folder / "results.json") as partial:  # a later sweep reads it back
        partial.write_text(json.dumps(results.as_json(), indent=2) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(results.markdown(), encoding="utf-8")
    points = [(f"alpha {model.alpha:g}", model.flops_ratio, model.accuracy) for model in results.models]
    plot_trade_off(points, results.teacher_accuracy, folder / "trade_off.png")
