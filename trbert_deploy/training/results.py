"""What a training gave: accuracy over FLOPs, as JSON, as tables and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from trbert_deploy.bundle.folder import whole_file
from trbert_deploy.class_metrics import ClassMetrics, Majority, class_metrics, macro_f1
from trbert_deploy.core import strict_json
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.markdown import markdown_table
from trbert_deploy.runtimes.environment import environment
from trbert_deploy.training.evaluation import Evaluation
from trbert_deploy.training.plots import plot_trade_off

SCHEMA_VERSION = "1.1"


@dataclass(frozen=True)
class ModelQuality:
    """How often a model is right.

    Attributes:
        accuracy: percent, in policy mode.
        macro_f1: percent, see `trbert_deploy.class_metrics.macro_f1`; None where rows have no classes, or
            another version of this package has measured the model.
        classes: the metrics of each; none where `macro_f1` is None.
    """

    accuracy: float
    macro_f1: float | None = None
    classes: list[ClassMetrics] = field(default_factory=list)

    @classmethod
    def of(cls, evaluation: Evaluation, names: Sequence[str]) -> Self:
        """Of a model's predictions.

        Args:
            evaluation: of all rows.
            names: of the classes.
        """
        if evaluation.labels.ndim > 1:
            return cls(evaluation.accuracy)
        labels, predicted = evaluation.labels, evaluation.predicted
        return cls(evaluation.accuracy, macro_f1(labels, predicted), class_metrics(labels, predicted, names))


@dataclass(frozen=True)
class TrainedModel:
    """One point of the trade-off.

    Attributes:
        alpha: the price of tokens that it was trained with.
        folder: the checkpoint.
        quality: how often it is right.
        kept: mean fractions of a row's own tokens after each reduction.
        flops_ratio: exact FLOPs of the dense model over its own, on the same rows.
    """

    alpha: float
    folder: str
    quality: ModelQuality
    kept: list[float]
    flops_ratio: float

    @property
    def accuracy(self) -> float:
        """Percent, in policy mode."""
        return self.quality.accuracy

    def as_json(self) -> dict[str, Any]:
        """All facts on one level."""
        facts = asdict(self)
        return {"alpha": self.alpha, "folder": self.folder, **facts.pop("quality"), **facts}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Self:
        """What `as_json` gave, of an earlier version too."""
        classes = [ClassMetrics(**one) for one in facts.get("classes", [])]
        quality = ModelQuality(facts["accuracy"], facts.get("macro_f1"), classes)
        return cls(facts["alpha"], facts["folder"], quality, facts["kept"], facts["flops_ratio"])


@dataclass(frozen=True)
class TrainingResults:
    """Everything a run gave.

    Attributes:
        teacher: folder of the dense model.
        teacher_quality: how often that is right.
        majority: the most common class; None where rows have no classes.
        rows: how many labelled rows all this was measured on.
        models: one for each alpha, ascending.
        warnings: what should make one stop and look.
        config: what was asked for.
    """

    teacher: str
    teacher_quality: ModelQuality
    majority: Majority | None
    rows: int
    models: list[TrainedModel]
    warnings: list[str]
    config: dict[str, Any]

    @property
    def teacher_accuracy(self) -> float:
        """Percent."""
        return self.teacher_quality.accuracy

    def as_json(self) -> dict[str, Any]:
        """The report: schema_version, command, environment, config, results."""
        quality = {f"teacher_{name}": value for name, value in asdict(self.teacher_quality).items()}
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "train",
            "environment": environment(),
            "config": self.config,
            "results": {
                "teacher": self.teacher,
                **quality,
                "majority": None if self.majority is None else asdict(self.majority),
                "rows": self.rows,
                "models": [model.as_json() for model in self.models],
                "warnings": self.warnings,
            },
        }

    def table(self) -> list[list[str]]:
        """Header and rows, as text."""
        header = ["model", "accuracy, %", "macro F1, %", "below the teacher, points", "tokens kept, %"]
        lines = [[*header, "FLOPs saved, x (exact)"]]
        lines.append(["dense teacher", *_quality(self.teacher_quality), "", "", "1.00"])
        for model in self.models:
            lines.append(
                [
                    f"alpha {model.alpha:g}",
                    *_quality(model.quality),
                    f"{self.teacher_accuracy - model.accuracy:.2f}",
                    ", ".join(f"{fraction * 100:.1f}" for fraction in model.kept),
                    f"{model.flops_ratio:.2f}",
                ]
            )
        if self.majority is not None:
            below = self.teacher_accuracy - self.majority.rate
            lines.append([f"always {self.majority.label}", f"{self.majority.rate:.2f}", "", f"{below:.2f}", "", ""])
        return lines

    def class_table(self) -> list[list[str]]:
        """Header and rows, as text: every class under every model."""
        lines = [["class", "model", "rows", "precision, %", "recall, %", "F1, %"]]
        qualities = {"dense teacher": self.teacher_quality}
        qualities |= {f"alpha {model.alpha:g}": model.quality for model in self.models}
        for place, one in enumerate(self.teacher_quality.classes):
            for name, quality in qualities.items():
                for own in quality.classes[place : place + 1]:
                    numbers = (f"{value:.2f}" for value in (own.precision, own.recall, own.f1))
                    lines.append([one.label, name, str(own.rows), *numbers])
        return lines

    def markdown(self) -> str:
        """The tables, with the number of rows and the warnings."""
        (header, *rows), (class_header, *class_rows) = self.table(), self.class_table()
        blocks = [markdown_table(header, rows), f"{self.rows} rows."]
        if class_rows:
            blocks.append(markdown_table(class_header, class_rows))
        return "\n\n".join([*blocks, *(f"Warning: {warning}." for warning in self.warnings)]) + "\n"


def _quality(quality: ModelQuality) -> list[str]:
    return [f"{quality.accuracy:.2f}", "" if quality.macro_f1 is None else f"{quality.macro_f1:.2f}"]


def read_models(folder: Path) -> list[TrainedModel]:
    """The models that a run's results.json lists; none where there is none yet.

    Raises:
        TRBertError: the file is damaged.
    """
    file = folder / "results.json"
    if not file.exists():
        return []
    try:
        results = strict_json.read(file, most_bytes=2**24)["results"]
        return [TrainedModel.from_json(model) for model in results["models"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TRBertError(f"{file} cannot be read: {error}", "move it away: it is written anew") from error


def write_results(results: TrainingResults, folder: Path) -> None:
    """Write results.json, results.md and trade_off.png."""
    with whole_file(folder / "results.json") as partial:  # a later sweep reads it back
        partial.write_text(strict_json.dumps(results.as_json(), indent=2) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(results.markdown(), encoding="utf-8")
    points = [(f"alpha {model.alpha:g}", model.flops_ratio, model.accuracy) for model in results.models]
    plot_trade_off(points, results.teacher_accuracy, folder / "trade_off.png")
