"""Reward and policy gradient against the expectation over every selection there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from trbert_deploy.training.batches import Batch
from trbert_deploy.training.importance import token_importance
from trbert_deploy.training.phases import FineTuning, Joint, Selectors
from trbert_deploy.training.policy import policy_loss, reward
from trbert_deploy.training.rollout import roll_out

ALPHA = 1.5
LENGTHS, LABELS = (4, 5), (2, 0)  # the first row is padded


def test_a_reward_is_the_loss_and_the_mean_kept_fraction_below_zero():
    losses = torch.tensor([[0.5, 2.0], [0.0, 1.0]])
    kept = torch.tensor([[[0.5, 0.25], [1.0, 0.5]], [[1.0, 1.0], [0.2, 0.0]]])
    wanted = [[-0.5 - 2 * 0.375, -2.0 - 2 * 0.75], [-2.0, -1.0 - 2 * 0.1]]
    np.testing.assert_allclose(reward(losses, kept, alpha=2.0), wanted, rtol=1e-6)
    np.testing.assert_array_equal(reward(losses, kept, alpha=0.0), -losses)


def test_policy_loss_weighs_each_sample_by_its_reward_above_the_rows_mean():
    rewards = torch.tensor([[1.0, 3.0, 5.0], [0.0, 0.0, 6.0]], requires_grad=True)
    log_probability = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, -2.0]], requires_grad=True)
    loss = policy_loss(rewards, log_probability)
    assert loss.item() == pytest.approx(-((2 - 6) + (2 + 2 - 8)) / 6)
    loss.backward()
    np.testing.assert_allclose(log_probability.grad, -np.array([[-2, 0, 2], [-2, -2, 4]]) / 6, rtol=1e-6)
    assert rewards.grad is None  # a reward is a number, whatever it was computed from


@pytest.fixture(scope="module", params=["one reduction", "two reductions", "two reductions, tokens stay attended"])
def model(tiny_model, halting_model, request):
    layers = 2 if request.param == "one reduction" else 4
    model = (halting_model if "attended" in request.param else tiny_model)(layers=layers)
    assert model.config.reduction_layers == {2: [1], 4: [1, 2]}[layers]
    assert model.reduction.fate == ("attended" if "attended" in request.param else "dropped")
    return model


@pytest.fixture(scope="module")
def rows(model, random_rows):
    return random_rows(model, LENGTHS)


@pytest.fixture(scope="module")
def every_selection(model, naive, rows):
    """For each row: selections, their logits, log-probabilities (both differentiable), and mean kept fractions."""
    slow = naive(model)
    answers = []
    for row, length in zip(rows, LENGTHS, strict=True):
        ways = slow.selections(length)
        pairs = [slow.answer(row, way)[:2] for way in ways]
        logits, log_probabilities = (torch.stack(part) for part in zip(*pairs, strict=True))
        kept = torch.tensor([[len(step) / length for step in way] for way in ways], dtype=torch.float64)
        answers.append((ways, logits, log_probabilities, kept))
    return slow, answers


def repeated(rows, batch_of, tensors_of, times):
    """A batch that holds the rows in turns, `times` times."""
    return {name: tensor.repeat(times, 1) for name, tensor in tensors_of(batch_of(rows)).items()}


def as_batch(inputs):
    labels = torch.tensor(LABELS).repeat(len(inputs["input_ids"]) // len(LABELS))
    return Batch(**inputs, labels=labels, rows=torch.arange(len(labels)) % len(LABELS))


def test_the_enumeration_is_complete(every_selection):
    _, answers = every_selection
    for (ways, _, log_probabilities, _), length in zip(answers, LENGTHS, strict=True):
        assert len(ways) == (len(ways[0]) + 1) ** (length - 1)  # a token leaves at one of the reductions or never
        assert log_probabilities.exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_each_sample_answers_as_the_model_run_on_what_it_kept_and_knows_its_probability(
    model, every_selection, rows, batch_of, tensors_of
):
    torch.manual_seed(0)
    inputs = repeated(rows, batch_of, tensors_of, 20)
    rollout = roll_out(model, inputs, 5)
    _, answers = every_selection
    seen = [set(), set()]
    for place in range(len(inputs["input_ids"])):
        ways, logits, log_probabilities, kept = answers[place % 2]
        for sample in range(5):
            same_counts = (rollout.kept[place, sample] - kept).abs().amax(-1) < 1e-6
            distance = (rollout.outputs["logits"][place, sample] - logits.detach()).abs().amax(-1)
            distance = torch.where(same_counts, distance, torch.inf)
            found = int(distance.argmin())
            assert distance[found] < 1e-5
            wanted = log_probabilities[found].item() / LENGTHS[place % 2]
            assert rollout.log_probability[place, sample].item() == pytest.approx(wanted, abs=1e-5)
            seen[place % 2].add(ways[found])
    assert min(map(len, seen)) > 5  # different ones were drawn


def expected_gradient(every_selection, samples, losses_of, *, distils):
    """The gradient, by name, that an estimate from so many samples has on average."""
    slow, answers = every_selection
    objective = torch.zeros((), dtype=torch.float64)
    for number, (_, logits, log_probabilities, kept) in enumerate(answers):
        losses = losses_of(logits, number)
        rewards = -losses.detach() - ALPHA * kept.mean(-1)
        probabilities = log_probabilities.exp()  # d p = p d log p
        objective = objective - (samples - 1) / samples / LENGTHS[number] * (probabilities * rewards).sum()
        if distils:
            objective = objective + (probabilities.detach() * losses).sum()
    names, parameters = zip(*slow.model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(objective / len(answers), parameters, retain_graph=True, allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for name, parameter, gradient in zip(names, parameters, gradients, strict=True)
    }


def estimates(model, loss_of, times=25):
    """Independent estimates [times, parameters] of the gradient, and the parameters' names."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    rows = []
    for _ in range(times):
        gradients = torch.autograd.grad(loss_of(), named.values(), allow_unused=True)
        parts = zip(gradients, named.values(), strict=True)
        rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in parts]).double())
    return torch.stack(rows), list(named)


def assert_mean(drawn, wanted):
    """The mean of independent draws is what was wanted, as far as their scatter tells, and that is far enough."""
    error = ((drawn.mean(0) - wanted) ** 2).sum()
    variance = (drawn.var(0) / len(drawn)).sum()  # what the error is on average
    assert wanted.norm() > 12 * variance.sqrt()  # else a wrong sign or factor would go unseen
    assert error < 4 * variance
    along = drawn @ wanted / wanted.norm() ** 2  # 1 on average: the factor, most sharply
    assert abs(along.mean() - 1) < 3.5 * along.std() / len(along) ** 0.5


@pytest.mark.parametrize("samples", [2, 5])
def test_policy_gradient_is_that_of_the_expected_reward_on_average(
    model, every_selection, rows, batch_of, tensors_of, samples
):
    torch.manual_seed(1)
    inputs = repeated(rows, batch_of, tensors_of, 150)
    labels = torch.tensor(LABELS).repeat(150)

    def loss_of():
        rollout = roll_out(model, inputs, samples)
        losses = nn.functional.cross_entropy(
            rollout.outputs["logits"].transpose(1, 2), labels.unsqueeze(1).expand(-1, samples), reduction="none"
        )
        return policy_loss(reward(losses, rollout.kept, ALPHA), rollout.log_probability)

    def cross_entropy(logits, row):
        return -torch.log_softmax(logits, -1)[:, LABELS[row]]

    wanted = expected_gradient(every_selection, samples, cross_entropy, distils=False)
    drawn, names = estimates(model, loss_of)
    assert_mean(drawn, torch.cat([wanted[name].flatten() for name in names]))


def test_selector_training_follows_the_expected_reward_and_touches_nothing_else(
    model, every_selection, rows, batch_of, tensors_of
):
    torch.manual_seed(2)
    batch = as_batch(repeated(rows, batch_of, tensors_of, 150))
    try:
        phase = Selectors(model, samples=3, alpha=ALPHA, imitation=0.5).train()
        drawn, names = estimates(model, lambda: phase(batch, progress=0.5)[0])
    finally:
        model.requires_grad_(True)
    assert names
    assert all(name.startswith("selectors.") for name in names)
    wanted = expected_gradient(
        every_selection, 3, lambda logits, row: -torch.log_softmax(logits, -1)[:, LABELS[row]], distils=False
    )
    assert_mean(drawn, torch.cat([wanted[name].flatten() for name in names]))


def test_joint_training_follows_distillation_and_expected_reward(model, every_selection, rows, batch_of, tensors_of):
    torch.manual_seed(3)
    batch = as_batch(repeated(rows, batch_of, tensors_of, 150))
    teacher = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -1.0]])
    phase = Joint(model, {"logits": teacher}, samples=3, alpha=ALPHA, temperature=2.0)

    def distillation(logits, row):
        wanted = torch.softmax(teacher[row].double() / 2, -1)
        return -(wanted * torch.log_softmax(logits / 2, -1)).sum(-1)

    drawn, names = estimates(model, lambda: phase(batch, progress=0.0)[0])
    wanted = expected_gradient(every_selection, 3, distillation, distils=True)
    assert_mean(drawn, torch.cat([wanted[name].flatten() for name in names]))
    # the policy's own part, which the distillation could hide
    selectors = [name.startswith("selectors.") for name in names]
    sizes = [wanted[name].numel() for name in names]
    columns = torch.repeat_interleave(torch.tensor(selectors), torch.tensor(sizes))
    assert_mean(drawn[:, columns], torch.cat([wanted[name].flatten() for name in names])[columns])


def test_measures_are_means_over_samples(model, rows, batch_of, tensors_of):
    batch = as_batch(repeated(rows, batch_of, tensors_of, 1))
    phase = Selectors(model, samples=4, alpha=ALPHA, imitation=0.0)
    try:
        torch.manual_seed(4)
        _, measures = phase(batch, progress=0.0)
        torch.manual_seed(4)
        rollout = roll_out(model, batch.inputs, 4)
    finally:
        model.requires_grad_(True)
    reductions = len(model.selectors)
    assert set(measures) == {"reward", "accuracy", *(f"kept_{number + 1}" for number in range(reductions))}
    answers = [(logits, label) for row, label in zip(rollout.outputs["logits"], LABELS, strict=True) for logits in row]
    right = [int(logits.argmax()) == label for logits, label in answers]
    assert measures["accuracy"].item() == pytest.approx(np.mean(right))
    losses = [-torch.log_softmax(logits, -1)[label].item() for logits, label in answers]
    kept = rollout.kept.detach().numpy()
    assert measures["reward"].item() == pytest.approx(-np.mean(losses) - ALPHA * kept.mean(), rel=1e-5)
    for number in range(reductions):
        assert measures[f"kept_{number + 1}"].item() == pytest.approx(kept[..., number].mean(), rel=1e-6)


def test_the_first_part_of_selector_training_imitates_importance_and_the_rest_does_not(
    model, rows, batch_of, tensors_of
):
    batch = as_batch(repeated(rows, batch_of, tensors_of, 2))
    importance = token_importance(model, batch.inputs, batch.labels)
    phase = Selectors(model, samples=3, alpha=ALPHA, imitation=0.25).train()
    try:
        assert not model.training  # its dropout would be noise in the reward
        for progress, guide in ((0.0, importance), (0.24, importance), (0.25, None), (0.9, None)):
            torch.manual_seed(5)
            loss, measures = phase(batch, progress)
            torch.manual_seed(5)
            rollout = roll_out(model, batch.inputs, 3, guide)
            assert measures["kept_1"].item() == pytest.approx(rollout.kept[..., 0].mean().item(), rel=1e-6)
            losses = -torch.log_softmax(rollout.outputs["logits"], -1)[torch.arange(4), :, batch.labels]
            wanted = policy_loss(reward(losses, rollout.kept, ALPHA), rollout.log_probability)
            assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    finally:
        model.requires_grad_(True)


def test_fine_tuning_is_the_cross_entropy_of_the_dense_model(model, every_selection, rows, batch_of, tensors_of):
    batch = as_batch(repeated(rows, batch_of, tensors_of, 1))
    loss, measures = FineTuning(model.without_reduction())(batch, progress=0.0)
    slow, _ = every_selection
    answers = []
    for row, length in zip(rows, LENGTHS, strict=True):
        everything = (tuple(range(length)),) * len(model.selectors)
        answers.append(slow.answer(row, everything)[0].detach())
    losses = [-torch.log_softmax(logits, -1)[label].item() for logits, label in zip(answers, LABELS, strict=True)]
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-4)
    right = [int(logits.argmax()) == label for logits, label in zip(answers, LABELS, strict=True)]
    assert measures["accuracy"].item() == pytest.approx(np.mean(right))
