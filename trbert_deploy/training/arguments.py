"""Everything that decides a training run, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from trbert_deploy.core.errors import InputError


@dataclass(frozen=True)
class TrainingArguments:
    """What a run depends on beside the checkpoint and the data; stored in its folder as arguments.json.

    "Upstream" is github.com/thunlp/TR-BERT, its README and run_classification.py; "paper" is Ye et al., NAACL 2021.

    Attributes:
        labels: names of the classes of a bare encoder to be, in order; None takes the data's.
        hold_out: fraction of the training rows that is set aside to evaluate on, where no other file is given.
        max_length: tokens a row is cut to (upstream: 512), by the saved tokenizer too. At most the backbone's limit.
        batch_size: rows in a step, on each device (upstream: 32).
        micro_batch_size: rows that run at once; their gradients are accumulated (upstream: 8). More are faster where
            the memory holds them: in step (d), `samples` times as many.
        seed: of weights, order of rows and sampling.
        precision: ``"no"`` (float32), ``"bf16"`` or ``"fp16"``: accelerate's mixed precision. Weights and selector
            logits stay float32.
        dropout: of the backbone, instead of its configuration's; None leaves that.
        attention_dropout: of the attention probabilities, where it is to be another; None makes it `dropout`'s. Zero
            is several times faster on a CPU.
        weight_decay: of AdamW, on matrices only.
        warmup: fraction of the steps over which the learning rate rises; it then falls to zero linearly.
        max_gradient_norm: gradients are scaled down to it.
        fine_tune: whether step (a) fits the dense model to the labels. None: only a bare encoder is.
        fine_tune_epochs: passes over the data in step (a) (upstream: 5).
        fine_tune_learning_rate: peak, in step (a) (upstream: 3e-5).
        selector_epochs: passes over the data in step (c), may be a fraction (upstream: 3).
        selector_learning_rate: peak, in step (c). Upstream uses 3e-5 over three epochs with everything frozen but the
            selectors; their few weights bear far more.
        imitation: first fraction of the steps of (c) in which one sample of a row keeps what the importance ranking
            says (upstream: `guide_rate`, 0.5).
        samples: selections drawn for a row, K (upstream's `sample_K`: 8). At least 2: they are each other's baseline.
        joint_epochs: passes over the data in step (d), may be a fraction (upstream: 3).
        joint_learning_rate: peak, in step (d) (upstream: 3e-5).
        temperature: of the distillation (upstream: 1). As upstream, the loss is not scaled by its square.
        save_every: steps from one resumable state to the next.
        log_every: steps that one line of metrics.jsonl averages over.
    """

    labels: tuple[str, ...] | None = None
    hold_out: float = 0.05
    max_length: int = 512
    batch_size: int = 32
    micro_batch_size: int = 8
    seed: int = 0
    precision: str = "no"
    dropout: float | None = None
    attention_dropout: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    max_gradient_norm: float = 1.0
    fine_tune: bool | None = None
    fine_tune_epochs: float = 3.0
    fine_tune_learning_rate: float = 3e-5
    selector_epochs: float = 1.0
    selector_learning_rate: float = 1e-3
    imitation: float = 0.5
    samples: int = 8
    joint_epochs: float = 3.0
    joint_learning_rate: float = 3e-5
    temperature: float = 1.0
    save_every: int = 200
    log_every: int = 10

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        positive = {"max_length", "max_gradient_norm", "temperature", "save_every", "log_every"}
        endings = ("_epochs", "_learning_rate", "batch_size")
        positive |= {field.name for field in fields(self) if field.name.endswith(endings)}
        for name in sorted(positive):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be greater than 0 and finite, not {getattr(self, name)}")
        if not 0 < self.hold_out < 1:
            raise InputError(f"hold_out must be greater than 0 and less than 1, not {self.hold_out}")
        for name in ("warmup", "imitation", "dropout", "attention_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} must lie between 0 and 1, not {value}")
        if self.labels is not None and len(set(self.labels)) < max(2, len(self.labels)):
            raise InputError(f"labels must be different names, two at least, not {', '.join(self.labels)}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 at least, not {self.seed}")
        if self.samples < 2:
            raise InputError(f"samples must be at least 2, not {self.samples}", "the default is 8")
        if self.precision not in ("no", "bf16", "fp16"):
            raise InputError(f"precision {self.precision!r} is not one of no, bf16, fp16")
