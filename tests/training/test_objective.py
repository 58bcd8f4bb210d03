"""What heads are trained by, and which are not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trbert_deploy.core.errors import CheckpointError
from trbert_deploy.tasks.heads import Objective
from trbert_deploy.tasks.heads.span import SpanHead
from trbert_deploy.training.batches import Batch, TokenizedExamples
from trbert_deploy.training.data import Examples
from trbert_deploy.training.evaluation import evaluate
from trbert_deploy.training.objective import objective_of
from trbert_deploy.training.phases import FineTuning, Joint, Selectors

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]])


def test_a_classifiers_loss_is_the_negative_log_likelihood(tiny_model):
    objective = objective_of(tiny_model())
    labels = torch.tensor([0, 1])
    wanted = [np.log(np.exp(row).sum()) - row[label] for row, label in zip(LOGITS.numpy(), (0, 1), strict=True)]
    np.testing.assert_allclose(objective.loss({"logits": LOGITS}, labels), wanted, rtol=1e-6)
    assert objective.predicted({"logits": LOGITS}).tolist() == [0, 2]
    assert objective.right({"logits": LOGITS}, labels).tolist() == [True, False]


def test_a_classifiers_distance_is_the_cross_entropy_of_softened_distributions(tiny_model):
    teacher = torch.tensor([[1.0, 1.0, -2.0], [5.0, 0.0, 0.0]])
    found = objective_of(tiny_model()).distance({"logits": LOGITS}, {"logits": teacher}, 2.0)
    for distance, ours, theirs in zip(found.tolist(), LOGITS.numpy() / 2, teacher.numpy() / 2, strict=True):
        wanted, said = np.exp(theirs) / np.exp(theirs).sum(), ours - np.log(np.exp(ours).sum())
        assert distance == pytest.approx(-(wanted * said).sum(), rel=1e-6)


@pytest.mark.parametrize("task", ["multiple-choice", "question-answering", "hotpot", "wikihop", "token-classification"])
def test_a_task_whose_head_has_no_objective_is_not_trained(tiny_model, task):
    with pytest.raises(CheckpointError, match=f"task {task} is not trained, only sequence-classification") as caught:
        objective_of(tiny_model(task))
    assert caught.value.hint == ""


class TrainedSpanHead(SpanHead, Objective):
    """What a task adds to be trained: here spans, whose labels are first and last token [rows, 2]."""

    def loss(self, outputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        ends = zip(("start_logits", "end_logits"), labels.unbind(1), strict=True)
        losses = [nn.functional.cross_entropy(outputs[name], places, reduction="none") for name, places in ends]
        return sum(losses) / 2

    def distance(self, outputs: Mapping[str, Tensor], teacher: Mapping[str, Tensor], temperature: float) -> Tensor:
        parts = []
        for name, output in outputs.items():
            assert output.shape == teacher[name].shape  # the teacher's are cut to the batch
            wanted = torch.softmax(teacher[name] / temperature, -1)
            parts.append(-(wanted * torch.log_softmax(output / temperature, -1)).sum(-1))
        return sum(parts) / len(parts)

    def predicted(self, outputs: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([outputs[name].argmax(-1) for name in ("start_logits", "end_logits")], dim=1)


@pytest.fixture
def reader(tiny_model):
    """A reading model with an objective, of which nothing else in training has heard."""
    model = tiny_model("question-answering")
    model.head.__class__ = TrainedSpanHead
    yield model
    model.head.__class__ = SpanHead


@pytest.fixture
def batch(reader, random_rows, batch_of, tensors_of):
    inputs = tensors_of(batch_of(random_rows(reader, [7, 12, 3])))
    return Batch(**inputs, labels=torch.tensor([[1, 3], [0, 11], [2, 2]]), rows=torch.tensor([2, 0, 3]))


def test_an_objective_in_a_head_is_all_that_the_phases_need(reader, batch):
    """Tokens are restored, outputs are over tokens, labels are two numbers a row."""
    teacher = {name: torch.randn(5, 20) for name in ("start_logits", "end_logits")}
    for make in (
        lambda: FineTuning(reader.without_reduction()),
        lambda: Selectors(reader, samples=3, alpha=1.0, imitation=0.5),
        lambda: Joint(reader, teacher, samples=3, alpha=1.0, temperature=1.0),
    ):
        phase = make()
        loss, measures = phase(batch, progress=0.0)
        trained = [parameter for parameter in phase.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(loss, trained, allow_unused=True)
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients), phase.name
        assert any(gradient.abs().max() > 0 for gradient in gradients)
        assert 0 <= measures["accuracy"] <= 1


def test_outputs_over_tokens_are_evaluated_as_if_each_row_were_alone(reader, batch, answer, tokenizer):
    texts = [("a b c d e",), ("f",), ("g h a",)]
    examples = TokenizedExamples(Examples(texts, np.array([[1, 2], [0, 0], [3, 1]]), ()), tokenizer, 16)
    found = evaluate(reader, examples, batch_size=2)
    for row in range(3):
        alone = examples.batch(np.array([row]))
        outputs, _ = answer(reader, {name: tensor.numpy() for name, tensor in alone.inputs.items()})
        length = int(examples.lengths[row])
        for name, output in outputs.items():
            np.testing.assert_allclose(found.outputs[name][row, :length], output[0, :length], atol=1e-5)
            assert (found.outputs[name][row, length:] == reader.spec.output(name).padding).all()
        places = [outputs[name][0].argmax() for name in ("start_logits", "end_logits")]
        assert found.predicted[row].tolist() == places
        assert found.right[row] == (places == examples.labels[row].tolist())
