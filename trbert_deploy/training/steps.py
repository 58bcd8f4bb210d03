"""The steps of a training, each on what the one before left in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from trbert_deploy.bundle.folder import whole_file
from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.evaluation import Evaluation, evaluate
from trbert_deploy.training.initial import set_dropout, with_selectors
from trbert_deploy.training.loop import Phase, Schedule, run_phase
from trbert_deploy.training.metrics import Metrics, read_metrics
from trbert_deploy.training.phases import FineTuning, Joint, Selectors
from trbert_deploy.training.plan import FINE_TUNING, TEACHER_OUTPUTS, Schedules, joint_part, selectors_part
from trbert_deploy.training.plots import plot_metrics
from trbert_deploy.training.run_folder import RunFolder, state_of
from trbert_deploy.training.states import steps_done
from trbert_deploy.training.time_left import Tracker


class Steps:
    """The steps of one run; all processes go through them together."""

    _phase: tuple[str, Path] | None = None  # under way: its name, and the result to be

    def __init__(
        self,
        accelerator: Accelerator,
        arguments: TrainingArguments,
        folder: RunFolder,
        tokenizer: Any,
        rows: TokenizedExamples,
        tracker: Tracker,
    ) -> None:
        self._accelerator, self._arguments, self._folder = accelerator, arguments, folder
        self._tokenizer, self._rows, self._tracker = tokenizer, rows, tracker
        self._schedules = Schedules.of(arguments)

    def teacher(self, model: TRBertPreTrainedModel, *, fine_tune: bool) -> TRBertPreTrainedModel:
        """Step (a): the dense model, fine-tuned where it has to be."""
        folder = self._folder.teacher
        if self._folder.finished(folder):
            return load_checkpoint(folder).model
        self._apply_dropout(model)
        if fine_tune:
            self._train(FineTuning(model), FINE_TUNING, self._schedules.fine_tuning, folder)
        self._save(model, folder)
        model.eval()
        return model

    def trained(self, alpha: float) -> TRBertPreTrainedModel | None:
        """The result of steps (b) to (d) for one alpha, where it is there."""
        folder = self._folder.model(alpha)
        return load_checkpoint(folder).model if self._folder.finished(folder) else None

    def selectors(self, teacher: TRBertPreTrainedModel, alpha: float) -> TRBertPreTrainedModel:
        """Steps (b) and (c): a model with selectors for one alpha."""
        arguments, folder = self._arguments, self._folder.selectors(alpha)
        if self._folder.finished(folder):
            return load_checkpoint(folder).model
        folder.parent.mkdir(exist_ok=True)
        model = with_selectors(teacher, arguments.seed, arguments.reduction)
        self._apply_dropout(model)
        phase = Selectors(model, arguments.samples, alpha, arguments.imitation)
        self._train(phase, selectors_part(alpha), self._schedules.selectors, folder)
        self._save(model, folder)
        return model

    def joint(
        self, teacher: TRBertPreTrainedModel, model: TRBertPreTrainedModel, alpha: float
    ) -> TRBertPreTrainedModel:
        """Step (d): the model that `selectors` gave, trained as a whole."""
        arguments, folder = self._arguments, self._folder.model(alpha)
        phase = Joint(model, self._teacher_outputs(teacher), arguments.samples, alpha, arguments.temperature)
        self._train(phase, joint_part(alpha), self._schedules.joint, folder)
        self._save(model, folder)
        model.eval()
        return model

    def evaluate(self, model: TRBertPreTrainedModel, rows: TokenizedExamples, part: str) -> Evaluation:
        """Run labelled rows through a model; in the main process only."""
        tell = self._tracker.begin(part)
        model.to(self._accelerator.device)
        return evaluate(model, rows, on_rows=lambda done: tell(done, len(rows), {}))

    def interrupted(self) -> str:
        """How to go on with a run that is interrupted now."""
        if self._phase is None:
            return f"interrupted; {self._folder.path} keeps what is done: the same command again goes on"
        part, result = self._phase
        done = steps_done(state_of(result))
        where = f"after its step {done}" if done else "from its beginning"
        return f"interrupted in {part}; the same command again goes on {where}"

    def _train(self, phase: Phase, part: str, schedule: Schedule, result: Path) -> None:
        """Run the phase whose result is to be saved at `result`."""
        self._phase = part, result
        metrics = Metrics(result.parent / "metrics.jsonl", enabled=self._accelerator.is_main_process)
        tell = self._tracker.begin(part, steps_done(state_of(result)))
        run_phase(
            self._accelerator, phase, schedule, self._rows, self._arguments, state_of(result), metrics, progress=tell
        )
        if self._accelerator.is_main_process:
            plot_metrics(read_metrics(result.parent / "metrics.jsonl"), result.parent / "run.png")

    def _save(self, model: TRBertPreTrainedModel, result: Path) -> None:
        self._folder.save(model, self._tokenizer, result)
        self._phase = None

    def _teacher_outputs(self, teacher: TRBertPreTrainedModel) -> dict[str, Tensor]:
        """The teacher's outputs on the training rows, in the run's mixed precision; computed once a run."""
        file = self._folder.teacher_outputs
        if not file.exists() and self._accelerator.is_main_process:
            with self._accelerator.autocast():
                outputs = self.evaluate(teacher, self._rows, TEACHER_OUTPUTS).outputs
            with whole_file(file) as partial, partial.open("wb") as stream:
                np.savez(stream, **outputs)  # type: ignore[arg-type]  # numpy takes no names for its flags here
        self._accelerator.wait_for_everyone()
        with np.load(file) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}

    def _apply_dropout(self, model: TRBertPreTrainedModel) -> None:
        rate, attention_rate = self._arguments.dropout, self._arguments.attention_dropout
        set_dropout(model, rate, rate if attention_rate is None else attention_rate)
