"""Whether a model can be trained, and by what."""

from __future__ import annotations

from trbert_deploy.core.errors import CheckpointError
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.tasks import TASKS
from trbert_deploy.tasks.heads import Objective


def chooses_one_class(model: TRBertPreTrainedModel) -> bool:
    """Whether a model's prediction is one of several classes: the only kind that is trained."""
    activation: str = model.spec.decoding.parameters.get("activation", "softmax")
    return activation == "softmax" and model.config.num_labels > 1


def is_trained(model: TRBertPreTrainedModel) -> bool:
    """Whether `train` can learn selectors for a model of this kind."""
    return isinstance(model.head, Objective) and chooses_one_class(model)


def objective_of(model: TRBertPreTrainedModel) -> Objective:
    """The head of a model as what it is trained by.

    Raises:
        CheckpointError: it is no `Objective`; the message says which tasks have one.
    """
    head = model.head
    if not isinstance(head, Objective):
        trained = [task.name for task in TASKS if issubclass(task.head_class(), Objective)]
        raise CheckpointError(f"task {model.task.name} is not trained, only {', '.join(trained)}")
    return head
