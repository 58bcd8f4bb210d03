"""The loop that every phase runs in: steps, learning rate, metrics, and states to resume from."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from trbert_deploy.core.errors import DeviceError, TRBertError
from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.batches import Batch, BatchSampler, TokenizedExamples
from trbert_deploy.training.metrics import Metrics
from trbert_deploy.training.states import load_state, save_state

#: Called after every part of a step with the steps done, the steps in all, and the latest averages.
Progress = Callable[[float, int, dict[str, float]], None]


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

    def sampler(self, examples: TokenizedExamples, arguments: TrainingArguments, processes: int) -> BatchSampler:
        """Which rows the steps take; all processes together make one.

        Raises:
            InputError: the rows do not fill a batch.
        """
        return BatchSampler(examples.lengths, arguments.batch_size * processes, self.epochs, arguments.seed)


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
    sampler = schedule.sampler(examples, arguments, processes)
    torch.manual_seed(arguments.seed + accelerator.process_index)
    trained = [parameter for parameter in phase.parameters() if parameter.requires_grad]
    optimizer = _optimizer(trained, schedule.learning_rate, arguments.weight_decay)
    wrapped, optimizer = accelerator.prepare(phase, optimizer)
    done = load_state(accelerator, state)
    metrics.begin(phase.name, done)
    wrapped.train()
    while done < sampler.steps:
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * _factor(done, sampler.steps, arguments.warmup)
        rows = sampler.rows(done)[accelerator.process_index :: processes]
        parts = [examples.batch(part) for part in np.array_split(rows, -(-len(rows) // arguments.micro_batch_size))]
        measures: dict[str, Tensor] = {}
        for share, measures in _accumulate(accelerator, wrapped, parts, done / sampler.steps):  # noqa: B007
            if share < 1:
                progress(done + share, sampler.steps, metrics.latest)
        accelerator.clip_grad_norm_(trained, arguments.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        done += 1
        averages = {name: float(value) for name, value in accelerator.reduce(measures, "mean").items()}
        _check_loss(averages["loss"], phase.name, done)
        saves = done % arguments.save_every == 0 and done < sampler.steps
        # a line with every state, so that a resumed run averages over the same steps
        write = saves or done % arguments.log_every == 0 or done == sampler.steps
        metrics.add(done, averages, write=write)
        progress(done, sampler.steps, metrics.latest)
        if saves:
            save_state(accelerator, state, done)
    accelerator.free_memory()


def _optimizer(trained: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW, which lets matrices alone decay."""
    groups = [
        {"params": [weight for weight in trained if weight.dim() > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in trained if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def _accumulate(
    accelerator: Accelerator, phase: nn.Module, parts: Sequence[Batch], progress: float
) -> Iterator[tuple[float, dict[str, Tensor]]]:
    """Add up the gradients of a step's rows, a part of them at a time.

    Yields:
        After each part the share of the rows that is done, and loss and measures so far; at the end they are the means
        over the rows.
    """
    whole, done = sum(len(part) for part in parts), 0
    sums: dict[str, Tensor] = {}
    for part in parts:
        batch, weight = part.to(accelerator.device), len(part) / whole
        done += len(part)
        # gradients meet between devices once a step
        with contextlib.nullcontext() if done == whole else accelerator.no_sync(phase):
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
        yield done / whole, sums


def _check_loss(loss: float, phase: str, step: int) -> None:
    if not math.isfinite(loss):
        raise TRBertError(
            f"{phase}: the loss is {loss} at step {step}",
            "lower the learning rate, or leave fp16 for bf16 or no mixed precision, and start a new run",
        )


def _factor(step: int, steps: int, warmup: float) -> float:
    """Linear rise, linear fall.

    Source: `get_linear_schedule_with_warmup`, which upstream uses; but its first step, of rate zero, is left out.
    """
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return max(0.0, (steps - step) / max(1.0, steps - rising))
