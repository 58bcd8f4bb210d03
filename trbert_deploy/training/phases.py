"""What each step of the training minimises."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.training.data import Batch
from trbert_deploy.training.importance import token_importance
from trbert_deploy.training.loop import Phase
from trbert_deploy.training.policy import policy_loss, reward
from trbert_deploy.training.rollout import Rollout, roll_out


class FineTuning(Phase):
    """Step (a): the cross-entropy of a dense model (`TRBertPreTrainedModel.without_reduction`)."""

    name = "fine-tuning"

    def __init__(self, dense: TRBertPreTrainedModel) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Phase.forward`; reports the accuracy."""
        logits = self.dense(**batch.inputs).outputs["logits"].float()
        accuracy = (logits.argmax(-1) == batch.labels).float().mean()
        return nn.functional.cross_entropy(logits, batch.labels), {"accuracy": accuracy}


class Selectors(Phase):
    """Step (c): the selectors alone, by policy gradient; backbone and head are frozen and in evaluation mode.

    For the first part of the steps, one sample of each row imitates the importance ranking of step (b), which is
    computed for the rows of the step.

    Source: paper section 3.3; `train_rl` in upstream's run_classification.py.
    """

    name = "selectors"

    def __init__(self, model: TRBertPreTrainedModel, samples: int, alpha: float, imitation: float) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.model.selectors.requires_grad_(True)
        self.samples, self.alpha, self.imitation = samples, alpha, imitation

    def train(self, mode: bool = True) -> Self:
        """Only the selectors are trained."""
        super().train(mode)
        self.model.eval()
        return self

    def forward(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Phase.forward`; reports reward, accuracy and kept fractions of the samples."""
        importance = None
        if progress < self.imitation:
            importance = token_importance(self.model, batch.inputs, batch.labels)
        rollout = roll_out(self.model, batch.inputs, self.samples, importance)
        losses = nn.functional.cross_entropy(
            rollout.logits.flatten(0, 1), batch.labels.repeat_interleave(self.samples), reduction="none"
        ).reshape(len(batch), self.samples)
        rewards = reward(losses, rollout.kept, self.alpha)
        return policy_loss(rewards, rollout.log_probability), _measures(rollout, rewards, batch)


class Joint(Phase):
    """Step (d): everything, on the sum of the distillation and the policy loss.

    The distillation is the cross-entropy of each sample's answer with the teacher's, which is also the loss in the
    reward.

    Source: paper section 3.3; `train_both` with `train_teacher` in upstream's run_classification.py, whose
    distillation takes the place of the labels.
    """

    name = "joint"

    def __init__(
        self, model: TRBertPreTrainedModel, teacher_logits: Tensor, samples: int, alpha: float, temperature: float
    ) -> None:
        """Take over a model.

        Args:
            model: with trained selectors.
            teacher_logits: float32 [rows, labels], of every row of the training data.
            samples: K.
            alpha: see `reward`.
            temperature: both distributions are softened by.
        """
        super().__init__()
        self.model = model.requires_grad_(True)
        self._teacher = torch.softmax(teacher_logits / temperature, dim=-1)  # no buffer: it may be large, and stays
        self.samples, self.alpha, self.temperature = samples, alpha, temperature

    def forward(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Phase.forward`; reports reward, accuracy and kept fractions of the samples."""
        rollout = roll_out(self.model, batch.inputs, self.samples)
        target = self._teacher[batch.rows.to(self._teacher.device)].to(batch.rows.device).unsqueeze(1)
        losses = -(target * torch.log_softmax(rollout.logits / self.temperature, dim=-1)).sum(-1)
        rewards = reward(losses, rollout.kept, self.alpha)
        loss = losses.mean() + policy_loss(rewards, rollout.log_probability)
        return loss, _measures(rollout, rewards, batch)


def _measures(rollout: Rollout, rewards: Tensor, batch: Batch) -> dict[str, Tensor]:
    with torch.no_grad():
        right = rollout.logits.argmax(-1) == batch.labels.unsqueeze(1)
        kept = rollout.kept.mean(dim=(0, 1))
        measures = {"reward": rewards.mean(), "accuracy": right.float().mean()}
        return measures | {f"kept_{number}": fraction for number, fraction in enumerate(kept, 1)}
