"""Evaluation against rows answered one at a time, and FLOPs by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.data import Examples
from trbert_deploy.training.evaluation import Evaluation, evaluate


@pytest.fixture(scope="module", params=["bert", "distilbert"])
def model(tiny_model, request):
    return tiny_model(backbone=request.param, layers=4)


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(1)
    return [" ".join(rng.choice(list("abcdefgh"), count)) for count in rng.integers(1, 20, 13)]


@pytest.fixture(scope="module")
def examples(tokenizer, texts):
    labels = np.random.default_rng(2).integers(0, 3, len(texts))
    return TokenizedExamples(Examples([(text,) for text in texts], labels, ("x", "y", "z")), tokenizer, 32)


@pytest.fixture(scope="module")
def alone(model, answer, tokenizer, texts):
    """Each row answered by itself: logits, and how many tokens each reduction kept."""

    def run(keep=None):
        logits, kept = [], []
        for text in texts:
            encoded = tokenizer(text, return_tensors="np", return_token_type_ids=True)
            outputs, positions = answer(model, {name: np.int64(array) for name, array in encoded.items()}, keep)
            logits.append(outputs["logits"][0])
            kept.append([len(step[0]) for step in positions])
        return np.array(logits), np.array(kept)

    return run


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("keep", [None, [0.5, 0.2]], ids=["policy", "budget"])
def test_rows_are_answered_as_if_each_were_alone(model, examples, alone, batch_size, keep):
    told = []
    found = evaluate(model, examples, keep=keep, batch_size=batch_size, on_rows=told.append)
    logits, kept = alone(keep)
    np.testing.assert_allclose(found.outputs["logits"], logits, atol=1e-5)
    np.testing.assert_array_equal(found.kept, kept)
    assert len(set(map(tuple, kept.tolist()))) > 5
    right = sum(int(row.argmax()) == label for row, label in zip(logits, examples.labels, strict=True))
    assert found.accuracy == pytest.approx(100 * right / 13)
    assert told == [min(done, 13) for done in range(batch_size, 13 + batch_size, batch_size)]


def test_budgets_keep_that_fraction_of_each_row_rounded_up(model, examples):
    found = evaluate(model, examples, keep=[0.5, 0.2])
    lengths = examples.lengths.tolist()
    wanted = [[math.ceil(length / 2), math.ceil(length / 5)] for length in lengths]
    assert found.kept.tolist() == wanted
    fractions = np.mean([[first / n, second / n] for (first, second), n in zip(wanted, lengths, strict=True)], axis=0)
    np.testing.assert_allclose(found.kept_fractions, fractions)


def test_an_empty_list_means_policy_where_the_model_has_budgets_of_its_own(model, examples):
    policy = evaluate(model, examples)
    model.config.keep = [0.5, 0.2]
    try:
        np.testing.assert_array_equal(evaluate(model, examples, keep=[]).kept, policy.kept)
        np.testing.assert_array_equal(evaluate(model, examples).kept, evaluate(model, examples, keep=[0.5, 0.2]).kept)
        assert (evaluate(model, examples).kept != policy.kept).any()
    finally:
        model.config.keep = None


def test_a_dense_model_keeps_everything_and_saves_nothing(model, examples):
    found = evaluate(model.without_reduction(), examples)
    assert found.kept.shape == (13, 0)
    assert found.kept_fractions == []
    assert found.flops_ratio == 1


def test_the_model_is_evaluated_without_dropout_and_left_in_the_mode_it_was_in(tiny_model, examples):
    model = tiny_model(layers=4)
    wanted = evaluate(model, examples)
    assert not model.training
    model.train()
    np.testing.assert_array_equal(evaluate(model, examples).outputs["logits"], wanted.outputs["logits"])
    assert model.training


def test_flops_by_hand(model, examples):
    """H 32, I 64, S 32, three labels, four layers, reductions before layers 1 and 2."""

    def layer(n):
        return 2 * (4 * n * 32 * 32 + 2 * n * n * 32 + 2 * n * 32 * 64)

    def selector(n):
        return 2 * (n * 32 * 32 + n * 32)

    head = 2 * (32 * 32 + 32 * 3)
    found = evaluate(model, examples, keep=[0.5, 0.2])
    reduced = [
        layer(n) + selector(n) + layer(first) + selector(first) + 2 * layer(second) + head
        for n, (first, second) in zip(examples.lengths.tolist(), found.kept.tolist(), strict=True)
    ]
    dense = [4 * layer(n) + head for n in examples.lengths.tolist()]
    assert found.flops == pytest.approx(np.mean(reduced))
    assert found.flops_ratio == pytest.approx(np.mean(dense) / np.mean(reduced))
    assert found.flops_ratio > 1.5


def test_accuracy_and_fractions_by_hand(model):
    logits = np.array([[1, 0], [0, 1], [2, 3], [5, 4]], dtype=np.float32)
    kept = np.array([[5, 1], [10, 4], [2, 2], [1, 1]])
    labels, lengths = np.array([0, 1, 0, 0]), np.array([10, 20, 4, 1])
    found = Evaluation({"logits": logits}, logits.argmax(-1), kept, labels, lengths, model.costs)
    assert found.right.tolist() == [True, True, False, True]
    assert found.accuracy == 75
    np.testing.assert_allclose(found.kept_fractions, [(0.5 + 0.5 + 0.5 + 1) / 4, (0.1 + 0.2 + 0.5 + 1) / 4])


def test_rows_as_long_as_the_backbone_allows(tokenizer):
    """Whatever the limit is: padding must not go beyond the last position."""
    from trbert_deploy.model import TRBertConfig, model_class
    from trbert_deploy.tasks import TASKS

    backbone = {"vocab_size": 40, "max_position_embeddings": 20, "hidden_size": 16, "num_hidden_layers": 2}
    backbone |= {"model_type": "bert", "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    model = model_class(TASKS.get("sequence-classification"))(TRBertConfig(backbone=backbone)).eval()
    texts = [("a " * 30,), ("b",)]
    found = evaluate(model, TokenizedExamples(Examples(texts, np.array([0, 1]), ("x", "y")), tokenizer, 20))
    assert found.lengths.tolist() == [20, 3]
