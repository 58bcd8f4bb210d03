"""Importance against transformers' own classifiers and autograd, one row at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.reductions import REDUCTIONS
from trbert_deploy.training.importance import anchor_layer, token_importance
from trbert_deploy.training.initial import with_selectors

SIZES = {
    "bert": {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64},
    "distilbert": {"dim": 32, "n_heads": 4, "hidden_dim": 64},
}
LENGTHS, LABELS = (9, 4, 1, 6), (0, 2, 1, 1)


def test_the_anchor_is_upstreams_for_bert_and_distilbert():
    assert anchor_layer(12) == 9
    assert anchor_layer(6) == 5


@pytest.mark.parametrize("depth", range(3, 25))
def test_the_anchor_lies_behind_every_reduction_and_before_the_end(depth):
    assert anchor_layer(depth) > max(
        REDUCTIONS.get("selector").default_layers(depth)
    )  # where they coincide every token scores zero
    assert anchor_layer(depth) < depth  # behind the last layer only [CLS] has a gradient


@pytest.fixture(scope="module", params=[("bert", 12), ("bert", 4), ("distilbert", 6)], ids=str)
def pair(request, tmp_path_factory):
    """A transformers classifier and ours of the same weights, with selectors."""
    kind, layers = request.param
    depth = {{"bert": "num_hidden_layers", "distilbert": "n_layers"}[kind]: layers}
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=60, max_position_embeddings=32, num_labels=3, initializer_range=0.3, **depth, **SIZES[kind]
    )
    torch.manual_seed(0)
    theirs = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    folder = tmp_path_factory.mktemp(kind)
    theirs.save_pretrained(folder)
    return theirs, with_selectors(load_checkpoint(folder).model, seed=0).eval()


@pytest.fixture(scope="module")
def rows(pair, random_rows):
    return random_rows(pair[1], LENGTHS)


def by_autograd(theirs, row, label, anchor, reduction):
    """|dL/dh_a . (h_a - h_s)| of every token of one row, from transformers' hidden states."""
    inputs = {"input_ids": torch.from_numpy(row["input_ids"])}
    if theirs.config.model_type == "bert":
        inputs["token_type_ids"] = torch.from_numpy(row["token_type_ids"])
    output = theirs(**inputs, output_hidden_states=True)
    assert len(output.hidden_states) == theirs.config.num_hidden_layers + 1  # states before each layer, and at the end
    loss = nn.functional.cross_entropy(output.logits, torch.tensor([label]))
    (gradient,) = torch.autograd.grad(loss, [output.hidden_states[anchor]])
    change = output.hidden_states[anchor] - output.hidden_states[reduction]
    return (gradient * change).sum(-1).abs()[0].detach().numpy()


def test_scores_are_the_gradient_at_the_anchor_times_the_change_since_the_reduction(pair, rows, batch_of, tensors_of):
    theirs, ours = pair
    depth = theirs.config.num_hidden_layers
    scores = token_importance(ours, tensors_of(batch_of(rows, width=16)), torch.tensor(LABELS))
    assert len(scores) == len(ours.config.reduction_layers) == 2
    anchor = {12: 9, 6: 5, 4: 3}[depth]
    for score, reduction in zip(scores, (1, depth // 2), strict=True):
        assert score.dtype == torch.float32
        assert score.shape == (4, 16)
        for number, (row, label) in enumerate(zip(rows, LABELS, strict=True)):
            wanted = by_autograd(theirs, row, label, anchor, reduction)
            length = LENGTHS[number]
            assert wanted.max() > 1e-6
            np.testing.assert_allclose(score[number, :length], wanted, rtol=2e-3, atol=1e-4 * wanted.max())
            np.testing.assert_array_equal(score[number, length:], 0)


def test_a_rows_scores_do_not_depend_on_its_batch(pair, rows, batch_of, tensors_of):
    _, ours = pair
    together = token_importance(ours, tensors_of(batch_of(rows, width=20)), torch.tensor(LABELS))
    for number, row in enumerate(rows):
        alone = token_importance(ours, tensors_of(row), torch.tensor(LABELS[number : number + 1]))
        for batched, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(
                batched[number, : LENGTHS[number]], single[0], rtol=2e-3, atol=1e-4 * single.max().item()
            )


def test_scores_need_no_trainable_weights_and_leave_no_gradient_behind(pair, rows, tensors_of):
    _, ours = pair
    usual = token_importance(ours, tensors_of(rows[0]), torch.tensor([0]))
    assert all(parameter.grad is None for parameter in ours.parameters())
    ours.requires_grad_(False)
    try:
        with torch.no_grad():
            frozen = token_importance(ours, tensors_of(rows[0]), torch.tensor([0]))
    finally:
        ours.requires_grad_(True)
    for score, wanted in zip(frozen, usual, strict=True):
        assert not score.requires_grad
        np.testing.assert_array_equal(score, wanted)


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 7])
def test_tokens_differ_in_importance_whatever_the_depth(tiny_model, random_rows, tensors_of, depth):
    """A ranking of equals would make the imitation keep the first tokens of every row."""
    model = tiny_model(layers=depth)
    (row,) = random_rows(model, [8])
    for score in token_importance(model, tensors_of(row), torch.tensor([1])):
        assert len(set(score[0].tolist())) == 8
