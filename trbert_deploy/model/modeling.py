"""The model as users know it: its stages run one after the other, and one class for each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trbert_deploy.core.selection import BUDGET_SCALE, Selection, millionths
from trbert_deploy.model.base import StagedModel
from trbert_deploy.model.decisions import by_budget, by_policy
from trbert_deploy.model.loop import run_stages
from trbert_deploy.model.stage import Decision
from trbert_deploy.tasks import TASKS, Task


@dataclass
class TRBertOutput:
    """What `forward` returns.

    Attributes:
        outputs: the task's output tensors by name.
        keep_masks: for each reduction int64 [B, M], 1 where a token was kept: over the original positions where the
            model is `full_length`, else over the tokens that the reduction before kept.
        decisions: for each reduction what was decided.
        budgets: for each reduction int64 [B], how many tokens each row was to keep; None in policy mode.
    """

    outputs: dict[str, Tensor]
    keep_masks: list[Tensor] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    budgets: list[Tensor] | None = None


class TRBertPreTrainedModel(StagedModel):
    """A backbone, its scores, and a head; the base of the ``TRBertFor...`` classes."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        keep: Sequence[float] | None = None,
        **task_inputs: Tensor,
    ) -> TRBertOutput:
        """Answer a batch; every row as if it were alone.

        Args:
            input_ids: int64 [B, N], in multiple choice [B, options, N].
            attention_mask: int64 of the same shape, real tokens first; all real where not given.
            token_type_ids: int64 of the same shape; zeros where not given.
            keep: budget fractions; by default the configuration's, where it has none policy mode.
            **task_inputs: the task's further inputs, see `spec`.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        selection = self.config.selection if keep is None else Selection.of(keep, len(self.selectors))
        request = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            **task_inputs,
        }
        budgets = self._budgets(attention_mask, selection) if selection.fractions else None
        results = run_stages(self, request, by_budget if budgets is not None else by_policy, budgets or ())
        return TRBertOutput(
            results[-1].tensors,
            [result.tensors["keep_mask"] for result in results[:-1]],
            [result.decision for result in results if result.decision is not None],
            budgets,
        )

    def _budgets(self, attention_mask: Tensor, selection: Selection) -> list[Tensor]:
        """For each reduction int64 [B]: see `trbert_deploy.core.selection.budget`."""
        real = attention_mask if self.task.sequences_axis is None else attention_mask.amax(dim=1)
        lengths = real.sum(-1)
        return [
            (lengths * millionths(fraction) + (BUDGET_SCALE - 1)) // BUDGET_SCALE for fraction in selection.fractions
        ]


def model_class(task: Task) -> type[TRBertPreTrainedModel]:
    """The class of a task's models, such as ``TRBertForSequenceClassification``."""
    if task.name not in _CLASSES:
        name = f"TRBert{task.architecture}"
        facts = {"task": task, "__module__": __name__, "__doc__": f"TR-BERT for {task.name}."}
        _CLASSES[task.name] = type(name, (TRBertPreTrainedModel,), facts)
    return _CLASSES[task.name]


_CLASSES: dict[str, type[TRBertPreTrainedModel]] = {}


def class_named(architecture: str) -> type[TRBertPreTrainedModel] | None:
    """The class that a checkpoint of ours names, or None."""
    return next((model_class(task) for task in TASKS if f"TRBert{task.architecture}" == architecture), None)
