"""Runs of the training loop, each as in a new process."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState
from training_told import KilledError

from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.devices import make_accelerator
from trbert_deploy.training.initial import set_dropout
from trbert_deploy.training.loop import Phase, Schedule, run_phase
from trbert_deploy.training.metrics import Metrics
from trbert_deploy.training.phases import FineTuning, Joint, Selectors

ROWS = 22  # two are left over in each epoch of batches of 4
STEPS = 15


def forget_accelerate() -> None:
    """Leave the process without accelerate's state, as a new one is."""
    AcceleratorState._reset_state(reset_partial_state=True)


def phase_of(kind: str, tiny_model: Callable[..., Any], dropout: float = 0.1) -> Phase:
    """A phase on a new model, always of the same weights."""
    model = tiny_model(layers=4)
    set_dropout(model, dropout, dropout)
    if kind == "fine-tuning":
        return FineTuning(model.without_reduction())
    if kind == "selectors":
        return Selectors(model, samples=3, alpha=1.0, imitation=0.5)
    teacher = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0))
    return Joint(model, {"logits": teacher}, samples=3, alpha=1.0, temperature=1.0)


def train(
    phase: Phase,
    examples: TokenizedExamples,
    folder: Path,
    *,
    kill_at: int | None = None,
    epochs: float = 3.0,
    learning_rate: float = 1e-3,
    precision: str = "no",
    **arguments: Any,
) -> list[tuple[float, int, dict[str, float]]]:
    """Run a phase as a new process would, to the end or to the step at which the process is killed."""
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(random.SystemRandom().randrange(1000))
    told: list[tuple[float, int, dict[str, float]]] = []

    def progress(done: float, steps: int, latest: Mapping[str, float]) -> None:
        told.append((done, steps, dict(latest)))
        if done == kill_at:
            raise KilledError

    folder.mkdir(exist_ok=True)
    options = {"batch_size": 4, "save_every": 5, "log_every": 1, "seed": 7} | arguments
    run_phase(
        make_accelerator(precision, "cpu"),
        phase,
        Schedule(epochs, learning_rate),
        examples,
        TrainingArguments(**options),
        folder / "state",
        Metrics(folder / "metrics.jsonl"),
        progress,
    )
    return told


def assert_same_weights(phase: Phase, other: Phase) -> None:
    """Two phases end with the same weights, to the bit."""
    theirs = other.state_dict()
    for name, weight in phase.state_dict().items():
        assert torch.equal(weight, theirs[name]), name
