"""What each step of the training minimises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.training.batches import Batch
from trbert_deploy.training.importance import token_importance
from trbert_deploy.training.loop import Phase
from trbert_deploy.training.objective import objective_of
from trbert_deploy.training.policy import policy_loss, reward
from trbert_deploy.training.rollout import Rollout, roll_out


class FineTuning(Phase):
    """Step (a): the loss of a dense model (`TRBertPreTrainedModel.without_reduction`)."""

    name = "fine-tuning"

    def __init__(self, dense: TRBertPreTrainedModel) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Phase.forward`; reports the accuracy."""
        objective = objective_of(self.dense)
        outputs = {name: output.float() for name, output in self.dense(**batch.inputs).outputs.items()}
        accuracy = objective.right(outputs, batch.labels).float().mean()
        return objective.loss(outputs, batch.labels).mean(), {"accuracy": accuracy}


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
        samples = Samples(self.model, batch, roll_out(self.model, batch.inputs, self.samples, importance))
        rewards = reward(samples.losses(), samples.rollout.kept, self.alpha)
        return policy_loss(rewards, samples.rollout.log_probability), samples.measures(rewards)


class Joint(Phase):
    """Step (d): everything, on the sum of the distillation and the policy loss.

    The distillation is the distance of each sample's outputs from the teacher's, which is also the loss in the reward.

    Source: paper section 3.3; `train_both` with `train_teacher` in upstream's run_classification.py, whose
    distillation takes the place of the labels.
    """

    name = "joint"

    def __init__(
        self,
        model: TRBertPreTrainedModel,
        teacher: Mapping[str, Tensor],
        samples: int,
        alpha: float,
        temperature: float,
    ) -> None:
        """Take over a model.

        Args:
            model: with trained selectors.
            teacher: its outputs by name, float32 [rows, ...], for every row of the training data.
            samples: K.
            alpha: see `reward`.
            temperature: both distributions are softened by.
        """
        super().__init__()
        self.model = model.requires_grad_(True)
        self._teacher = dict(teacher)  # no buffers: they may be large, and stay where they are
        self.samples, self.alpha, self.temperature = samples, alpha, temperature

    def forward(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Phase.forward`; reports reward, accuracy and kept fractions of the samples."""
        samples = Samples(self.model, batch, roll_out(self.model, batch.inputs, self.samples))
        distances = samples.distances(self._teacher, self.temperature)
        rewards = reward(distances, samples.rollout.kept, self.alpha)
        loss = distances.mean() + policy_loss(rewards, samples.rollout.log_probability)
        return loss, samples.measures(rewards)


class Samples:
    """The samples of a batch, each compared with what its row should have been.

    Attributes:
        rollout: of the batch.
    """

    def __init__(self, model: TRBertPreTrainedModel, batch: Batch, rollout: Rollout) -> None:
        self.rollout = rollout
        self._objective, self._batch = objective_of(model), batch
        self._shape = rollout.log_probability.shape
        self._outputs = {name: output.flatten(0, 1) for name, output in rollout.outputs.items()}
        self._labels = batch.labels.repeat_interleave(self._shape[1], dim=0)

    def losses(self) -> Tensor:
        """The task's loss under each selection, float32 [B, K]."""
        return self._objective.loss(self._outputs, self._labels).reshape(self._shape)

    def distances(self, teacher: Mapping[str, Tensor], temperature: float) -> Tensor:
        """How far each sample is from a teacher, float32 [B, K].

        Args:
            teacher: outputs [rows of the data, ...] by name, on any device; those over tokens as wide as the widest.
            temperature: see `Objective.distance`.
        """
        rows, repeats = self._batch.rows, self._shape[1]
        own = {}
        for name, output in self._outputs.items():
            whole = teacher[name]
            some = whole[rows.to(whole.device), : output.shape[1]].to(output.device)
            own[name] = some.repeat_interleave(repeats, dim=0)
        return self._objective.distance(self._outputs, own, temperature).reshape(self._shape)

    def measures(self, rewards: Tensor) -> dict[str, Tensor]:
        """Means over the samples: reward, accuracy and kept fractions."""
        with torch.no_grad():
            right = self._objective.right(self._outputs, self._labels)
            kept = self.rollout.kept.mean(dim=(0, 1))
            measures = {"reward": rewards.mean(), "accuracy": right.float().mean()}
            return measures | {f"kept_{number}": fraction for number, fraction in enumerate(kept, 1)}
