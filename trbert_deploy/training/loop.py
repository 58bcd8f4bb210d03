"""The loop that every phase runs in: steps, learning rate, metrics, and states to resume from."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from trbert_deploy.core.errors import DeviceError, TRBertError
from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.data import Batch, BatchPlan, TokenizedExamples
from trbert_deploy.training.metrics import Metrics

#: Called after every step with the steps done, the steps in all, and the latest averages.
Progress = Callable[[int, int, dict[str, float]], None]


class Phase(nn.Module):
    """What one phase minimises: a module, so that accelerate can spread it over devices.

    Attributes:
        name: of the phase.
    """

    name: str

    def forward(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and what to report: scalars, averaged over its rows.

        Args:
            batch: on the phase's device.
            progress: fraction of the phase's steps that are done.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Schedule:
    """How long a phase trains, and how hard.

    Attributes:
        epochs: passes over the data, may be a fraction.
        learning_rate: the peak.
    """

    epochs: float
    learning_rate: float


def run_phase(
    accelerator: Accelerator,
    phase: Phase,
    schedule: Schedule,
    examples: TokenizedExamples,
    arguments: TrainingArguments,
    state: Path,
    metrics: Metrics,
    progress: Progress,
) -> None:
    """Train a phase's parameters to the end of its schedule, from the last state in `state` where there is one.

    A killed run that is started again gives the same weights as one that was not: order of rows and learning rate
    follow from the step, and a state holds weights, optimizer and random generators.

    Args:
        accelerator: decides devices and mixed precision.
        phase: parameters with ``requires_grad`` are trained.
        schedule: of this phase.
        examples: the training data; every device takes its share of a step's rows.
        arguments: of the run.
        state: folder of this phase's states; removed by the caller once the result is safe.
        metrics: where lines go.
        progress: see `Progress`.
    """
    processes = accelerator.num_processes
    plan = BatchPlan(examples.lengths, arguments.batch_size * processes, schedule.epochs, arguments.seed)
    trained = [parameter for parameter in phase.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [weight for weight in trained if weight.dim() > 1], "weight_decay": arguments.weight_decay},
            {"params": [weight for weight in trained if weight.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=schedule.learning_rate,
        fused=True,
    )
    torch.manual_seed(arguments.seed + accelerator.process_index)
    wrapped, optimizer = accelerator.prepare(phase, optimizer)
    done = _resume(accelerator, state)
    metrics.begin(phase.name, done)
    wrapped.train()
    while done < plan.steps:
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * _factor(done, plan.steps, arguments.warmup)
        share = plan.rows(done)[accelerator.process_index :: processes]
        measures = _accumulate(accelerator, wrapped, examples, share, done / plan.steps, arguments.micro_batch_size)
        accelerator.clip_grad_norm_(trained, arguments.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        done += 1
        averages = {name: float(value) for name, value in accelerator.reduce(measures, "mean").items()}
        if not math.isfinite(averages["loss"]):
            raise TRBertError(
                f"{phase.name}: the loss is {averages['loss']} at step {done}",
                "lower the learning rate, or leave fp16 for bf16 or no mixed precision, and start a new run",
            )
        saves = done % arguments.save_every == 0 and done < plan.steps
        # a line with every state, so that a resumed run averages over the same steps
        write = saves or done % arguments.log_every == 0 or done == plan.steps
        metrics.add(done, averages, write=write)
        progress(done, plan.steps, metrics.latest)
        if saves:
            _save(accelerator, state, done)
    accelerator.free_memory()


def _accumulate(
    accelerator: Accelerator,
    phase: nn.Module,
    examples: TokenizedExamples,
    rows: npt.NDArray[np.int64],
    progress: float,
    at_once: int,
) -> dict[str, Tensor]:
    """Add up the gradients of a step's rows, `at_once` of them at a time; loss and measures, averaged over the rows."""
    parts = np.array_split(rows, -(-len(rows) // at_once))
    sums: dict[str, Tensor] = {}
    for number, part in enumerate(parts, 1):
        batch, weight = examples.batch(part).to(accelerator.device), len(part) / len(rows)
        # gradients meet between devices once a step
        with contextlib.nullcontext() if number == len(parts) else accelerator.no_sync(phase):
            try:
                loss, measures = phase(batch, progress)
                accelerator.backward(loss * weight)
            except torch.OutOfMemoryError as error:
                raise DeviceError(
                    f"the device's memory does not hold {len(part)} rows of {batch.input_ids.shape[1]} tokens",
                    "lower --micro-batch-size or --samples, or take --precision bf16",
                ) from error
        for name, value in {"loss": loss.detach(), **measures}.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value * weight
    return sums


def _factor(step: int, steps: int, warmup: float) -> float:
    """Linear rise, linear fall.

    Source: `get_linear_schedule_with_warmup`, which upstream uses; but its first step, of rate zero, is left out.
    """
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return max(0.0, (steps - step) / max(1.0, steps - rising))


def _save(accelerator: Accelerator, state: Path, done: int) -> None:
    """Write a state beside the last one, then let it take its place."""
    partial, latest = state / "partial", state / f"step-{done}"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        partial.rename(latest)
        for old in state.glob("step-*"):
            if old != latest:
                shutil.rmtree(old)
    accelerator.wait_for_everyone()


def _resume(accelerator: Accelerator, state: Path) -> int:
    """Load the latest state; how many steps it had done."""
    states = {int(folder.name.removeprefix("step-")): folder for folder in state.glob("step-*")}
    if not states:
        return 0
    done = max(states)
    accelerator.load_state(str(states[done]))
    return done
