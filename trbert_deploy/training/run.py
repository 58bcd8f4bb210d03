"""A whole training: from a checkpoint and labelled rows to TR-BERT checkpoints, in the paper's steps.

What it leaves is described in `trbert_deploy.training.run_folder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from trbert_deploy.bundle.folder import room_for
from trbert_deploy.core.costs import Costs
from trbert_deploy.core.errors import InputError
from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.data import hold_out, read_examples
from trbert_deploy.training.devices import make_accelerator
from trbert_deploy.training.initial import InitialModel, load_initial, reduced_costs, tokenize
from trbert_deploy.training.measuring import Measuring
from trbert_deploy.training.plan import plan
from trbert_deploy.training.reporting import Reporter
from trbert_deploy.training.results import TrainingResults, write_results
from trbert_deploy.training.run_folder import RunFolder, state_of
from trbert_deploy.training.states import steps_done
from trbert_deploy.training.steps import Steps
from trbert_deploy.training.time_left import Part, Tracker


def train(
    source: str | Path,
    data: Path,
    out: Path,
    arguments: TrainingArguments | None = None,
    *,
    reporter: Reporter | None = None,
    **changes: Any,
) -> TrainingResults | None:
    """Train TR-BERT models, one for each alpha; or go on with a run that was interrupted.

    Args:
        source: a dense sequence classifier or a bare encoder: a folder or a Hub id.
        data: labelled rows, see `read_examples`.
        out: the run's folder.
        arguments: everything else that decides the result.
        reporter: is told what happens, in the main process only.
        **changes: attributes of `TrainingArguments`, instead of those in `arguments`:
            ``train("bert-base-uncased", data, out, alphas=[0.5, 1])``.

    Returns:
        The results, also written to `out`; None in all processes but the main one.

    Raises:
        CheckpointError: the checkpoint cannot be trained.
        InputError: the data or an argument is wrong, or `out` holds another run.
        DeviceError: the device is not there.
        TRBertError: there is no room to write; the same call goes on with the run.
        TypeError: there is no such argument.
    """
    known = [field.name for field in fields(TrainingArguments)]
    if unknown := sorted(changes.keys() - set(known)):
        raise TypeError(f"train() takes no {', '.join(unknown)}; it takes {', '.join(known)}")
    arguments = replace(arguments or TrainingArguments(), **changes)
    accelerator = make_accelerator(arguments.precision, arguments.device)
    if reporter is None or not accelerator.is_main_process:
        reporter = Reporter()
    begin = _prepare(source, data, arguments)
    config = {**begin.config, "model": str(source), "processes": accelerator.num_processes}
    folder = RunFolder(Path(out), accelerator)
    parts = begin.parts(folder, accelerator.num_processes)
    with folder.locked(), room_for(folder.path):
        folder.claim(config)
        reporter.note(_header(begin, parts))
        tracker = Tracker([part for part in parts if not part.finished], reporter)
        steps = Steps(accelerator, arguments, folder, begin.initial.tokenizer, begin.rows, tracker)
        measuring = Measuring(steps, begin.held_out, begin.initial.examples.names, folder, reporter)
        try:
            _run(begin, steps, measuring if accelerator.is_main_process else None)
            results = None
            if accelerator.is_main_process:
                results = measuring.results(config)
                write_results(results, folder.path)
            accelerator.wait_for_everyone()
        except KeyboardInterrupt:
            reporter.note(steps.interrupted())
            raise
        return results


@dataclass(frozen=True)
class _Beginning:
    """What a run begins with.

    Attributes:
        initial: the checkpoint and all data.
        arguments: of the run.
        rows: to train on.
        held_out: to evaluate on.
        costs: of the model with reductions.
        config: what the run's folder is to hold a run of.
    """

    initial: InitialModel
    arguments: TrainingArguments
    rows: TokenizedExamples
    held_out: TokenizedExamples
    costs: Costs
    config: dict[str, Any]

    @property
    def fine_tune(self) -> bool:
        """Whether the dense model is fitted first."""
        return self.initial.bare if self.arguments.fine_tune is None else self.arguments.fine_tune

    @property
    def alphas(self) -> list[float]:
        """Ascending, as their folders are named."""
        return sorted({float(f"{alpha:g}") for alpha in self.arguments.alphas})

    def parts(self, folder: RunFolder, processes: int) -> list[Part]:
        """See `plan`."""
        return plan(
            self.arguments,
            self.alphas,
            self.rows,
            len(self.held_out),
            self.costs,
            folder,
            fine_tune=self.fine_tune,
            processes=processes,
        )


def _prepare(source: str | Path, data: Path, arguments: TrainingArguments) -> _Beginning:
    """Read everything, and see that it goes together, before anything is written."""
    initial = load_initial(source, data, labels=arguments.labels, seed=arguments.seed)
    costs = reduced_costs(initial.model, arguments.reduction)
    if arguments.eval_data is not None:
        examples, held_out = initial.examples, read_examples(arguments.eval_data, initial.examples.names)
    else:
        examples, held_out = hold_out(initial.examples, arguments.hold_out, arguments.seed)
    if initial.bare and arguments.fine_tune is False:
        raise InputError(f"{source} is a bare encoder, it has to be fine-tuned", "leave --no-fine-tune out")
    limit = min(arguments.max_length, initial.model.spec.max_length)
    initial.tokenizer.model_max_length = limit  # saved with the weights: an export cuts rows where the training did
    config = {**asdict(arguments), "data": examples.digest(), "eval_data": held_out.digest(), "bare": initial.bare}
    rows, held_out_rows = tokenize(initial, examples, limit), tokenize(initial, held_out, limit)
    return _Beginning(initial, arguments, rows, held_out_rows, costs, config)


def _run(begin: _Beginning, steps: Steps, measuring: Measuring | None) -> None:
    """All steps; what they give is measured in the process that has a `measuring`."""
    teacher = steps.teacher(begin.initial.model, fine_tune=begin.fine_tune)
    if measuring:
        measuring.teacher(teacher)
    for alpha in begin.alphas:
        model = steps.trained(alpha)
        if model is None:
            model = steps.selectors(teacher, alpha)
            if measuring:
                measuring.check(model, alpha)
            model = steps.joint(teacher, model, alpha)
        if measuring:
            measuring.student(model, alpha)


def _header(begin: _Beginning, parts: Sequence[Part]) -> str:
    """What the run is going to do."""
    phases = []
    for part in parts:
        if part.unit == "steps" and part.result is not None:
            done = steps_done(state_of(part.result))
            state = ", done" if part.finished else f", from step {done} on" if done else ""
            phases.append(f"{part.name} {part.total} steps{state}")
    return (
        f"training on {len(begin.rows)} rows, {begin.arguments.batch_size} a step; "
        f"evaluating on {len(begin.held_out)}; phases: {'; '.join(phases)}"
    )
