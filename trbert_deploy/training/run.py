"""A whole training: from a checkpoint and labelled rows to TR-BERT checkpoints, in the paper's steps.

The run folder:

    arguments.json            what was asked for; a run goes on under the same only
    metrics.jsonl, run.png    of the fine-tuning
    teacher/                  the dense model after step (a)
    teacher_logits.npy        its answers to the training rows, float32 [rows, labels]
    alpha-1/                  for each alpha:
        selectors/            the model after step (c)
        model/                the model after step (d): what `export` takes
        metrics.jsonl, run.png
    results.json, results.md, trade_off.png

Folders of weights appear whole. A step that is done is not done again; one that was interrupted goes on from its last
state, which lies in a hidden folder beside the result to be.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from filelock import FileLock, Timeout

from trbert_deploy.bundle.folder import whole_file, whole_folder
from trbert_deploy.checkpoint import load_checkpoint, save_checkpoint
from trbert_deploy.core.errors import InputError, TRBertError
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.data import TokenizedExamples, hold_out, read_examples
from trbert_deploy.training.devices import make_accelerator
from trbert_deploy.training.evaluation import Evaluation, evaluate
from trbert_deploy.training.loop import Phase, Schedule, run_phase
from trbert_deploy.training.metrics import Metrics, read_metrics
from trbert_deploy.training.phases import FineTuning, Joint, Selectors
from trbert_deploy.training.plots import plot_metrics
from trbert_deploy.training.results import TrainedModel, TrainingResults, read_models, write_results
from trbert_deploy.training.start import load_start, set_dropout, tokenize, with_selectors

#: Called with what is being done, the steps done, the steps in all, and the latest averages.
Report = Callable[[str, int, int, dict[str, float]], None]

_ARGUMENTS = "arguments.json"
_WITHOUT_EFFECT = ("save_every", "log_every")  # on the weights


def _silent(phase: str, done: int, steps: int, latest: dict[str, float]) -> None:
    """What the other processes report."""


def train(
    source: str | Path,
    data: Path,
    out: Path,
    arguments: TrainingArguments,
    *,
    alphas: Sequence[float] = (1.0,),
    eval_data: Path | None = None,
    device: str | None = None,
    report: Report = _silent,
) -> TrainingResults | None:
    """Train TR-BERT models, one for each alpha; or go on with a run that was interrupted.

    Args:
        source: a BERT or DistilBERT sequence classifier or bare encoder: a folder or a Hub id.
        data: labelled rows, see `read_examples`.
        out: the run folder, see the top of this module.
        arguments: everything else that decides the result.
        alphas: prices of a kept fraction of 1 in the reward (upstream: 1 for IMDb). More of them may be added to a run
            later; they share its teacher.
        eval_data: labelled rows to evaluate on; by default `arguments.hold_out` of `data`, not trained on then.
        device: ``"cpu"`` or ``"cuda"``; by default what accelerate finds. Several devices: start the command with
            ``accelerate launch``.
        report: progress; called in the main process only.

    Returns:
        The results, also written to `out`; None in all processes but the main one.

    Raises:
        CheckpointError: the checkpoint cannot be trained.
        InputError: the data or an argument is wrong, or `out` holds another run.
        DeviceError: the device is not there.
    """
    if not alphas or not all(0 <= alpha < math.inf for alpha in alphas):
        raise InputError(f"alphas must be numbers from 0 on, not {list(alphas)}")
    alphas = sorted({float(f"{alpha:g}") for alpha in alphas})  # as their folders are named
    accelerator = make_accelerator(arguments.precision, device)
    start = load_start(source, data, labels=arguments.labels, seed=arguments.seed)
    if eval_data is not None:
        examples, held_out = start.examples, read_examples(eval_data, start.examples.names)
    else:
        examples, held_out = hold_out(start.examples, arguments.hold_out, arguments.seed)
    fine_tune = start.bare if arguments.fine_tune is None else arguments.fine_tune
    if start.bare and not fine_tune:
        raise InputError(f"{source} is a bare encoder, it has to be fine-tuned", "leave --no-fine-tune out")
    limit = min(arguments.max_length, start.model.config.backbone.max_position_embeddings)
    start.tokenizer.model_max_length = limit  # saved with the weights: an export cuts rows where the training did
    rows, held_out_rows = tokenize(start, examples, limit), tokenize(start, held_out, limit)
    config = {
        "model": str(source),
        "data": examples.digest(),
        "eval_data": held_out.digest(),
        "bare": start.bare,
        "processes": accelerator.num_processes,
        **asdict(arguments),
    }
    with _locked(out, accelerator):
        _claim(out, config, accelerator)
        run = _Run(accelerator, arguments, out, start.tokenizer, rows, report)
        teacher = run.teacher(start.model, fine_tune=fine_tune)
        models = [run.student(teacher, alpha) for alpha in alphas]
        results = None
        if accelerator.is_main_process:
            results = run.results(teacher, models, alphas, held_out_rows, config)
            write_results(results, out)
        accelerator.wait_for_everyone()
        return results


@contextlib.contextmanager
def _locked(out: Path, accelerator: Accelerator) -> Iterator[None]:
    """Nobody else trains in this folder meanwhile."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TRBertError(f"{out} cannot be a run folder: {error.strerror}", "give another --out") from error
    lock = FileLock(out / f".lock-{accelerator.process_index}", timeout=0)
    try:
        held = lock.acquire()
    except Timeout:
        raise TRBertError(f"another process is training in {out}", "wait for it, or give another --out") from None
    with held:
        yield


def _claim(out: Path, config: dict[str, Any], accelerator: Accelerator) -> None:
    """Write what the run is to be, or see that it is the same run."""
    file = out / _ARGUMENTS
    if accelerator.is_main_process and not file.exists():
        if any(entry.name[0] != "." for entry in out.iterdir()):
            raise InputError(f"{out} exists and holds no training run", "give another --out")
        with whole_file(file) as partial:
            partial.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    accelerator.wait_for_everyone()
    before, wanted = json.loads(file.read_text(encoding="utf-8")), json.loads(json.dumps(config))
    differing = [
        f"{name} was {before.get(name)}, now {wanted.get(name)}"
        for name in dict.fromkeys([*before, *wanted])
        if before.get(name) != wanted.get(name) and name not in _WITHOUT_EFFECT
    ]
    if differing:
        raise InputError(
            f"{out} holds a run with other arguments ({'; '.join(differing)})",
            "repeat them to go on with it, or give another --out",
        )


def _state_of(result: Path) -> Path:
    """Where the states lie from which a folder of weights is still to come."""
    return result.with_name(f".state-{result.name}")


class _Run:
    """One run's folder, and the steps on it."""

    def __init__(
        self,
        accelerator: Accelerator,
        arguments: TrainingArguments,
        out: Path,
        tokenizer: Any,
        rows: TokenizedExamples,
        report: Report,
    ) -> None:
        self.accelerator, self.arguments, self.out = accelerator, arguments, out
        self.tokenizer, self.rows = tokenizer, rows
        self.report = report if accelerator.is_main_process else _silent

    def teacher(self, model: TRBertPreTrainedModel, *, fine_tune: bool) -> TRBertPreTrainedModel:
        """Step (a): the dense model, fine-tuned where it has to be."""
        folder = self.out / "teacher"
        if self._exists(folder):
            return load_checkpoint(folder).model
        self._apply_dropout(model)
        if fine_tune:
            arguments = self.arguments
            schedule = Schedule(arguments.fine_tune_epochs, arguments.fine_tune_learning_rate)
            self._train(FineTuning(model), schedule, folder)
        self._save(model, folder)
        model.eval()
        return model

    def student(self, teacher: TRBertPreTrainedModel, alpha: float) -> TRBertPreTrainedModel:
        """Steps (b) to (d) for one alpha."""
        arguments = self.arguments
        folder = self.out / f"alpha-{alpha:g}"
        if self._exists(folder / "model"):
            return load_checkpoint(folder / "model").model
        folder.mkdir(exist_ok=True)
        if self._exists(folder / "selectors"):
            model = load_checkpoint(folder / "selectors").model
        else:
            model = with_selectors(teacher, arguments.seed)
            self._apply_dropout(model)
            schedule = Schedule(arguments.selector_epochs, arguments.selector_learning_rate)
            phase = Selectors(model, arguments.samples, alpha, arguments.imitation)
            self._train(phase, schedule, folder / "selectors")
            self._save(model, folder / "selectors")
        logits = self._teacher_logits(teacher)
        schedule = Schedule(arguments.joint_epochs, arguments.joint_learning_rate)
        joint = Joint(model, logits, arguments.samples, alpha, arguments.temperature)
        self._train(joint, schedule, folder / "model")
        self._save(model, folder / "model")
        model.eval()
        return model

    def results(
        self,
        teacher: TRBertPreTrainedModel,
        models: list[TRBertPreTrainedModel],
        alphas: list[float],
        rows: TokenizedExamples,
        config: dict[str, Any],
    ) -> TrainingResults:
        """Accuracy and FLOPs of everything that was trained."""
        dense = self._evaluate(teacher, rows, "teacher")
        points = [model for model in read_models(self.out) if model.alpha not in alphas]  # of earlier calls
        for model, alpha in zip(models, alphas, strict=True):
            measured = self._evaluate(model, rows, f"alpha {alpha:g}")
            folder = self.out / f"alpha-{alpha:g}" / "model"
            points.append(
                TrainedModel(alpha, str(folder), measured.accuracy, measured.kept_fractions, measured.flops_ratio)
            )
        points.sort(key=lambda point: point.alpha)
        return TrainingResults(str(self.out / "teacher"), dense.accuracy, len(rows), points, config)

    def _exists(self, folder: Path) -> bool:
        """Whether a step is done: the same answer for all processes, which then go the same way."""
        exists = folder.exists()
        self.accelerator.wait_for_everyone()
        if exists and self.accelerator.is_main_process:
            shutil.rmtree(_state_of(folder), ignore_errors=True)  # a kill may have left it
        return exists

    def _train(self, phase: Phase, schedule: Schedule, result: Path) -> None:
        """Run the phase whose result is to be saved at `result`."""
        folder = result.parent
        metrics = Metrics(folder / "metrics.jsonl", enabled=self.accelerator.is_main_process)
        run_phase(
            self.accelerator,
            phase,
            schedule,
            self.rows,
            self.arguments,
            _state_of(result),
            metrics,
            lambda done, steps, latest: self.report(f"{folder.name}: {phase.name}", done, steps, latest),
        )
        if self.accelerator.is_main_process:
            plot_metrics(read_metrics(folder / "metrics.jsonl"), folder / "run.png")

    def _save(self, model: TRBertPreTrainedModel, folder: Path) -> None:
        """The model as a checkpoint, whole; then the states that led to it are of no more use."""
        if self.accelerator.is_main_process:
            with whole_folder(folder, force=False, replaceable=lambda existing: False) as partial:
                save_checkpoint(model, partial)
                self.tokenizer.save_pretrained(str(partial))
            shutil.rmtree(_state_of(folder), ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def _teacher_logits(self, teacher: TRBertPreTrainedModel) -> torch.Tensor:
        """The teacher's answers to the training rows, in the run's mixed precision; computed once a run."""
        file = self.out / "teacher_logits.npy"
        if not file.exists() and self.accelerator.is_main_process:
            with self.accelerator.autocast():
                logits = self._evaluate(teacher, self.rows, "the teacher's answers").logits
            with whole_file(file) as partial, partial.open("wb") as stream:
                np.save(stream, logits)
        self.accelerator.wait_for_everyone()
        return torch.from_numpy(np.load(file))

    def _evaluate(self, model: TRBertPreTrainedModel, rows: TokenizedExamples, name: str) -> Evaluation:
        model.to(self.accelerator.device)
        return evaluate(model, rows, on_rows=lambda done: self.report(f"evaluating: {name}", done, len(rows), {}))

    def _apply_dropout(self, model: TRBertPreTrainedModel) -> None:
        rate, attention_rate = self.arguments.dropout, self.arguments.attention_dropout
        set_dropout(model, rate, rate if attention_rate is None else attention_rate)
