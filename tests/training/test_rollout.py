"""Drawn selections: what is kept, how often, and what imitation does to them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from trbert_deploy.training.rollout import roll_out

LENGTHS = (5, 2, 4, 1)
SPECIAL = ["multiple-choice", "question-answering", "hotpot", "wikihop"]  # rows of several sequences; restored tokens
TASKS = ["sequence-classification", "token-classification", *SPECIAL]


@pytest.fixture(scope="module", params=["bert", "distilbert", "tokens stay attended"])
def model(tiny_model, halting_model, request):
    if request.param == "tokens stay attended":
        return halting_model(layers=4, seed=3)
    return tiny_model(backbone=request.param, layers=4, seed=3)


@pytest.fixture(scope="module")
def rows(model, random_rows):
    return random_rows(model, LENGTHS)


def with_bias(tiny_model, *biases):
    """A model whose selectors say the same of every token."""
    model = tiny_model(layers=4)
    for selector, bias in zip(model.selectors, biases, strict=True):
        torch.nn.init.zeros_(selector.score.weight)
        torch.nn.init.constant_(selector.score.bias, bias)
    return model


def every_answer(slow, row, length):
    """Selections of a row, and their logits, probabilities and kept fractions."""
    ways = slow.selections(length)
    with torch.no_grad():
        answers = [slow.answer(row, way) for way in ways]
    logits = torch.stack([answer[0] for answer in answers])
    probability = torch.stack([answer[1] for answer in answers]).exp()
    kept = torch.tensor([[len(step) / length for step in way] for way in ways])
    return ways, logits, probability, kept


def drawn_ways(rollout, row, ways, logits, kept):
    """Which selection each sample of a row was, by the answer it led to."""
    found = []
    for sample in range(rollout.outputs["logits"].shape[1]):
        same = (rollout.kept[row, sample] - kept).abs().amax(-1) < 1e-6
        distance = torch.where(same, (rollout.outputs["logits"][row, sample] - logits).abs().amax(-1), torch.inf)
        best = int(distance.argmin())
        assert distance[best] < 1e-4
        found.append(ways[best])
    return found


def test_shapes_and_what_can_be_learned_from(model, rows, batch_of, tensors_of):
    rollout = roll_out(model, tensors_of(batch_of(rows)), 3)
    assert rollout.outputs["logits"].shape == (4, 3, 3)
    assert rollout.log_probability.shape == (4, 3)
    assert rollout.kept.shape == (4, 3, 2)
    assert rollout.log_probability.requires_grad
    assert not rollout.kept.requires_grad
    assert (rollout.log_probability <= 0).all()


def test_the_first_token_stays_where_nothing_else_does(tiny_model, naive, random_rows, batch_of, tensors_of):
    model = with_bias(tiny_model, -60.0, -60.0)
    rows = random_rows(model, LENGTHS)
    rollout = roll_out(model, tensors_of(batch_of(rows, width=9)), 4)
    slow = naive(model)
    for number, (row, length) in enumerate(zip(rows, LENGTHS, strict=True)):
        np.testing.assert_allclose(rollout.kept[number], 1 / length, rtol=1e-6)
        wanted = slow.answer(row, ((0,), (0,)))[0].detach()
        for logits in rollout.outputs["logits"][number]:
            np.testing.assert_allclose(logits.detach(), wanted, atol=1e-5)
    np.testing.assert_allclose(rollout.log_probability.detach(), 0, atol=1e-6)  # [CLS] is no choice


def test_padding_never_goes_on_even_where_everything_is_kept(tiny_model, naive, random_rows, batch_of, tensors_of):
    model = with_bias(tiny_model, 60.0, 60.0)
    rows = random_rows(model, LENGTHS)
    rollout = roll_out(model, tensors_of(batch_of(rows, width=9)), 4)
    np.testing.assert_array_equal(rollout.kept, 1)
    slow = naive(model)
    for number, (row, length) in enumerate(zip(rows, LENGTHS, strict=True)):
        everything = tuple(range(length))
        wanted = slow.answer(row, (everything, everything))[0].detach()
        for logits in rollout.outputs["logits"][number]:
            np.testing.assert_allclose(logits.detach(), wanted, atol=1e-5)
    np.testing.assert_allclose(rollout.log_probability.detach(), 0, atol=1e-6)


def test_fractions_count_from_the_original_length_at_every_reduction(tiny_model, random_rows, tensors_of):
    model = with_bias(tiny_model, 0.0, 60.0)  # half go at the first reduction, nobody at the second
    (row,) = random_rows(model, [40])
    torch.manual_seed(0)
    kept = roll_out(model, tensors_of(row), 200).kept[0].numpy()
    np.testing.assert_array_equal(kept[:, 0], kept[:, 1])
    np.testing.assert_allclose(kept * 40, np.round(kept * 40), atol=1e-4)
    assert abs(kept.mean() - 20.5 / 40) < 4 * (39 / 4 / 200) ** 0.5 / 40  # [CLS] and a half of 39, binomial
    assert kept.std() * 40 == pytest.approx((39 / 4) ** 0.5, rel=0.25)  # each token on its own


@pytest.mark.parametrize("width", [5, 16])
def test_selections_are_drawn_as_often_as_their_probability_whatever_the_padding(
    tiny_model, naive, random_rows, batch_of, tensors_of, width
):
    model = tiny_model(layers=4, seed=1)
    (row,) = random_rows(model, [5], seed=4)
    ways, logits, probability, kept = every_answer(naive(model), row, 5)
    torch.manual_seed(width)
    draws = 4000
    with torch.no_grad():
        rollout = roll_out(model, tensors_of(batch_of([row], width=width)), draws)
    counts = Counter(drawn_ways(rollout, 0, ways, logits, kept))
    expected = {way: draws * chance.item() for way, chance in zip(ways, probability, strict=True)}
    common = [way for way in ways if expected[way] >= 5]
    assert len(common) > 10
    chi_square = sum((counts[way] - expected[way]) ** 2 / expected[way] for way in common)
    assert chi_square < len(common) + 5 * (2 * len(common)) ** 0.5


def imitation(scores, chances, alive):
    """Of the tokens alive but [CLS] the best by score, as many as are expected to stay; ascending."""
    free = [position for position in alive if position]
    expected = sum(chances[alive.index(position)] for position in free)
    count = int(expected + 0.5)
    return (0, *sorted(sorted(free, key=lambda position: (-scores[position], position))[:count]))


@pytest.mark.parametrize("seed", range(6))
def test_the_first_sample_keeps_the_most_important_of_those_still_there(
    model, naive, random_rows, batch_of, tensors_of, seed
):
    lengths = (5, 12, 3, 1)
    rows = random_rows(model, lengths, seed=seed)
    rng = np.random.default_rng(seed)
    importance = [torch.from_numpy(rng.permutation(4 * 14).reshape(4, 14).astype(np.float32)) for _ in range(2)]
    torch.manual_seed(seed)
    rollout = roll_out(model, tensors_of(batch_of(rows, width=14)), 3, importance)
    slow = naive(model)
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        everyone = tuple(range(length))
        with torch.no_grad():
            said = slow.answer(row, (everyone, everyone))[2][0]
            first = imitation(importance[0][number].tolist(), torch.sigmoid(said).tolist(), list(everyone))
            said = slow.answer(row, (first, first))[2][1]
            second = imitation(importance[1][number].tolist(), torch.sigmoid(said).tolist(), list(first))
            logits, log_probability, _ = slow.answer(row, (first, second))
        np.testing.assert_allclose(rollout.kept[number, 0] * length, [len(first), len(second)], atol=1e-5)
        np.testing.assert_allclose(rollout.outputs["logits"][number, 0].detach(), logits, atol=1e-4)
        assert rollout.log_probability[number, 0].item() == pytest.approx(log_probability.item() / length, abs=1e-5)


def test_the_other_samples_are_drawn_from_the_policy(model, rows, batch_of, tensors_of):
    inputs = tensors_of(batch_of(rows))
    importance = [torch.rand(inputs["input_ids"].shape) for _ in range(2)]
    torch.manual_seed(5)
    free = roll_out(model, inputs, 3)
    torch.manual_seed(5)
    imitating = roll_out(model, inputs, 3, importance)
    # the first reduction draws the same numbers in both
    np.testing.assert_array_equal(free.kept[:, 1:, 0], imitating.kept[:, 1:, 0])


def test_selectors_decide_in_float32_under_mixed_precision(model, rows, batch_of, tensors_of):
    inputs = tensors_of(batch_of(rows))
    calls = []
    hooks = [
        selector.register_forward_hook(lambda selector, states, logits: calls.append((selector, states[0], logits)))
        for selector in model.selectors
    ]
    try:
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            rollout = roll_out(model, inputs, 2)
    finally:
        for hook in hooks:
            hook.remove()
    assert len(calls) >= 2
    for selector, states, logits in calls:
        assert logits.dtype == torch.float32
        with torch.no_grad():
            assert torch.equal(logits, selector(states))
    for result in (rollout.outputs["logits"], rollout.log_probability, rollout.kept):
        assert result.dtype == torch.float32
    torch.manual_seed(0)
    with torch.no_grad():
        exact = roll_out(model, inputs, 2)
    assert not torch.equal(exact.outputs["logits"], rollout.outputs["logits"])  # precision was mixed indeed


@pytest.fixture(scope="module", params=["two reductions", "tokens stay attended", "before the first layer"])
def certain(request, tiny_model, halting_model):
    """Makes a model whose selectors are sure of every token: probabilities are exactly 0 or 1."""

    def make(task, backbone):
        options = {"task": task, "backbone": backbone, "layers": 4}
        if request.param == "before the first layer":
            model = tiny_model(**options, reduction_layers=[0, 3])
        elif request.param == "tokens stay attended" and task != "multiple-choice":
            model = halting_model(**options)
        else:
            model = tiny_model(**options)
        for selector in model.selectors:
            for parameter in selector.score.parameters():
                parameter.data *= 1e5
        return model

    return make


@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
@pytest.mark.parametrize(
    "task",
    ["sequence-classification", "question-answering", "multiple-choice", "hotpot", "wikihop", "token-classification"],
)
def test_one_sure_sample_is_the_reference_to_the_last_bit(certain, random_rows, batch_of, tensors_of, task, backbone):
    model = certain(task, backbone)
    inputs = tensors_of(batch_of(random_rows(model, (9, 2, 17, 1, 12)), width=18))
    with torch.no_grad():
        reference, rollout = model(**inputs), roll_out(model, inputs, 1)
    for decision in reference.decisions:
        sure = torch.sigmoid(decision.scores[decision.free])
        assert set(sure.tolist()) == {0.0, 1.0}  # else what is drawn may be another selection
    assert rollout.outputs.keys() == reference.outputs.keys()
    for name, output in reference.outputs.items():
        assert torch.equal(rollout.outputs[name][:, 0], output), name
    lengths = inputs["attention_mask"].reshape(5, -1, 18).amax(1).sum(-1)
    kept = torch.stack([mask.sum(-1) / lengths for mask in reference.keep_masks], dim=-1)
    assert torch.equal(rollout.kept[:, 0], kept)
    assert not rollout.log_probability.any()


@pytest.mark.parametrize("task", SPECIAL)
def test_every_sample_of_a_task_is_the_reference_under_its_selection(certain, random_rows, batch_of, tensors_of, task):
    """Rows, and what the head reads beside the states, are repeated alike."""
    model = certain(task, "bert")
    inputs = tensors_of(batch_of(random_rows(model, (9, 2, 17)), width=18))
    with torch.no_grad():
        reference, rollout = model(**inputs), roll_out(model, inputs, 3)
    for name, output in reference.outputs.items():
        for sample in range(3):
            torch.testing.assert_close(rollout.outputs[name][:, sample], output, rtol=1e-5, atol=1e-5)
