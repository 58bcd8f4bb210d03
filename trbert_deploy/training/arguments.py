"""Everything that decides a training run, declared once: for the Python call, the command line and the run's folder."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.flags import flag

Precision = Literal["no", "bf16", "fp16"]
TrainingDevice = Literal["cpu", "cuda"]

#: Attributes in which a call that goes on with a run may differ from the one that began it.
MAY_CHANGE = ("alphas", "device", "save_every", "log_every")


@dataclass(frozen=True)
class TrainingArguments:
    """What a run depends on beside the checkpoint and the data; stored in its folder as arguments.json.

    "Upstream" is github.com/thunlp/TR-BERT, its README and run_classification.py.

    Attributes:
        alphas: price of keeping every token: the larger, the faster the model; several, such as 0.5,1,2, give a
            checkpoint each, a table and a plot. More of them may be added to a run later, and share its teacher. What
            is right depends on the data; upstream's lie between 0.01 and 5, 1 for IMDb.
        eval_data: labelled rows to evaluate on; by default `hold_out` of the data, which is not trained on then.
        labels: names of the classes of a bare encoder to be, in order, such as negative,positive; by default the
            data's.
        hold_out: fraction of the data to evaluate on where no other file is given, greater than 0 and less than 1.
        max_length: tokens a row is cut to (upstream: 512), after an export too. At most the encoder's limit.
        batch_size: rows in a step, on each device (upstream: 32).
        micro_batch_size: of those, rows that run at once; gradients are accumulated (upstream: 8). More are faster
            where the memory holds them: in the last phase, `samples` times as many.
        seed: of weights, order of rows and sampling.
        precision: accelerate's mixed precision: ``"no"`` (float32), ``"bf16"`` or ``"fp16"``. Weights and selector
            logits stay float32.
        device: by default what accelerate finds; several devices: accelerate launch -m trbert_deploy.
        reduction: how tokens are scored, and what becomes of those that leave.
        dropout: of the encoder, instead of its own configuration's.
        attention_dropout: of the attention probabilities, instead of `dropout`; 0 is several times faster on a CPU.
        weight_decay: of AdamW, on matrices only.
        warmup: fraction of the steps over which the learning rate rises; it then falls to zero linearly.
        max_gradient_norm: gradients are scaled down to it.
        fine_tune: fit the dense model to the labels first; by default only a bare encoder is.
        fine_tune_epochs: passes over the data when it is, may be a fraction (upstream: 5).
        fine_tune_learning_rate: its peak then (upstream: 3e-5).
        selector_epochs: passes over the data for the selectors alone, may be a fraction (upstream: 3).
        selector_learning_rate: its peak for the selectors alone. Upstream uses 3e-5 over three epochs with everything
            frozen but the selectors; their few weights bear far more.
        imitation: first fraction of the selectors' steps in which one sample of a row keeps the tokens of the
            highest importance (upstream: `guide_rate`, 0.5).
        samples: selections drawn for a row, K (upstream's `sample_K`: 8). At least 2: they are each other's baseline.
        joint_epochs: passes over the data for everything together, distilled from the dense model; may be a fraction
            (upstream: 3).
        joint_learning_rate: its peak for everything together (upstream: 3e-5).
        temperature: of the distillation (upstream: 1).
        save_every: steps from one state that an interrupted run goes on from to the next.
        log_every: steps that one line of metrics.jsonl averages over.
    """

    alphas: tuple[float, ...] = field(default=(1.0,), metadata=flag("--alpha", "--alphas", minimum=0))
    eval_data: Path | None = field(default=None, metadata=flag(metavar="FILE"))
    labels: tuple[str, ...] | None = field(default=None, metadata=flag(metavar="NAME,NAME,..."))
    hold_out: float = 0.05
    max_length: int = field(default=512, metadata=flag(minimum=3))
    batch_size: int = field(default=32, metadata=flag(minimum=1))
    micro_batch_size: int = field(default=8, metadata=flag(minimum=1))
    seed: int = 0
    precision: Precision = "no"
    device: TrainingDevice | None = None
    reduction: str = "selector"
    dropout: float | None = field(default=None, metadata=flag(minimum=0, maximum=1))
    attention_dropout: float | None = field(default=None, metadata=flag(minimum=0, maximum=1))
    weight_decay: float = 0.01
    warmup: float = field(default=0.1, metadata=flag(minimum=0, maximum=1))
    max_gradient_norm: float = 1.0
    fine_tune: bool | None = None
    fine_tune_epochs: float = 3.0
    fine_tune_learning_rate: float = 3e-5
    selector_epochs: float = 1.0
    selector_learning_rate: float = 1e-3
    imitation: float = field(default=0.5, metadata=flag(minimum=0, maximum=1))
    samples: int = field(default=8, metadata=flag(minimum=2))
    joint_epochs: float = 3.0
    joint_learning_rate: float = 3e-5
    temperature: float = 1.0
    save_every: int = field(default=200, metadata=flag(minimum=1))
    log_every: int = field(default=10, metadata=flag(minimum=1))

    def __post_init__(self) -> None:
        """Take lists and names of files too; refuse values that mean nothing."""
        object.__setattr__(self, "alphas", tuple(self.alphas))
        object.__setattr__(self, "labels", None if self.labels is None else tuple(self.labels))
        object.__setattr__(self, "eval_data", None if self.eval_data is None else Path(self.eval_data))
        if not self.alphas or not all(0 <= alpha < math.inf for alpha in self.alphas):
            raise InputError(f"alphas must be numbers from 0 on, not {list(self.alphas)}")
        self._check_ranges()
        if self.labels is not None and len(set(self.labels)) < max(2, len(self.labels)):
            raise InputError(f"labels must be different names, two at least, not {', '.join(self.labels)}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 at least, not {self.seed}")
        if self.samples < 2:
            raise InputError(f"samples must be at least 2, not {self.samples}", "the default is 8")
        for name, values in (("precision", get_args(Precision)), ("device", (None, *get_args(TrainingDevice)))):
            if getattr(self, name) not in values:
                known = ", ".join(value for value in values if value)
                raise InputError(f"{name} {getattr(self, name)!r} is not one of {known}")

    def _check_ranges(self) -> None:
        positive = {"max_length", "max_gradient_norm", "temperature", "save_every", "log_every"}
        endings = ("_epochs", "_learning_rate", "batch_size")
        positive |= {one.name for one in fields(self) if one.name.endswith(endings)}
        for name in sorted(positive):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be greater than 0 and finite, not {getattr(self, name)}")
        if not 0 < self.hold_out < 1:
            raise InputError(f"hold_out must be greater than 0 and less than 1, not {self.hold_out}")
        for name in ("warmup", "imitation", "dropout", "attention_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} must lie between 0 and 1, not {value}")
