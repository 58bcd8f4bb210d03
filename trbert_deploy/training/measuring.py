"""What the models of a run are worth, measured as soon as they are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trbert_deploy.class_metrics import Majority, majority
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.cautions import caution_selectors, caution_teacher
from trbert_deploy.training.plan import CHECKED_ROWS, TEACHER, check_part, evaluation_part
from trbert_deploy.training.reporting import Reporter
from trbert_deploy.training.results import ModelQuality, TrainedModel, TrainingResults, read_models
from trbert_deploy.training.run_folder import RunFolder
from trbert_deploy.training.steps import Steps


class Measuring:
    """Measures the models of a run on rows that it does not train on, and warns; in the main process only.

    Args:
        steps: of the run.
        rows: to measure on.
        names: of the classes.
        folder: of the run.
        reporter: is warned.
    """

    _teacher: ModelQuality
    _majority: Majority | None = None

    def __init__(
        self, steps: Steps, rows: TokenizedExamples, names: Sequence[str], folder: RunFolder, reporter: Reporter
    ) -> None:
        self._steps, self._rows, self._names = steps, rows, names
        self._folder, self._reporter = folder, reporter
        self._models: list[TrainedModel] = []
        self._warnings: list[str] = []

    def teacher(self, model: TRBertPreTrainedModel) -> None:
        """Measure the dense model."""
        found = self._steps.evaluate(model, self._rows, TEACHER)
        self._teacher = ModelQuality.of(found, self._names)
        if found.labels.ndim == 1:
            self._majority = majority(found.labels, self._names)
            self._warn(caution_teacher(found, self._majority))

    def check(self, model: TRBertPreTrainedModel, alpha: float) -> None:
        """Look at selectors before they are trained with everything else, on some of the rows."""
        found = self._steps.evaluate(model, self._rows.first(CHECKED_ROWS), check_part(alpha))
        if caution := caution_selectors(found, f"alpha {alpha:g}"):
            self._reporter.warn(caution)  # not kept: the next phase may mend it

    def student(self, model: TRBertPreTrainedModel, alpha: float) -> None:
        """Measure the model of an alpha."""
        found = self._steps.evaluate(model, self._rows, evaluation_part(alpha))
        self._warn(caution_selectors(found, f"alpha {alpha:g}"))
        quality, place = ModelQuality.of(found, self._names), str(self._folder.model(alpha))
        self._models.append(TrainedModel(alpha, place, quality, found.kept_fractions, found.flops_ratio))

    def results(self, config: dict[str, Any]) -> TrainingResults:
        """Everything measured, and the models that an earlier call has measured beside it."""
        alphas = [model.alpha for model in self._models]
        earlier = [model for model in read_models(self._folder.path) if model.alpha not in alphas]
        models = sorted([*earlier, *self._models], key=lambda model: model.alpha)
        teacher, rows = str(self._folder.teacher), len(self._rows)
        return TrainingResults(teacher, self._teacher, self._majority, rows, models, self._warnings, config)

    def _warn(self, caution: str | None) -> None:
        if caution:
            self._warnings.append(caution)
            self._reporter.warn(caution)
