"""Rows as token ids, and the batches that a training takes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from trbert_deploy.core.errors import InputError
from trbert_deploy.training.batches import BatchSampler, TokenizedExamples
from trbert_deploy.training.data import Examples

# -- tokens --------------------------------------------------------------------------------------------------


TEXTS = ["a good film", "bad", "a b c d e f g h a b c d e f g h", ""]
PAIRS = ["a plot", "a b c d e f g h a b c d e f g h", "dull b", "g"]


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("max_length", [12, 32])
def test_batches_hold_what_transformers_own_tokenizer_gives(tokenizer, pairs, max_length):
    texts = list(zip(TEXTS, PAIRS, strict=True)) if pairs else [(text,) for text in TEXTS]
    tokenized = TokenizedExamples(Examples(texts, np.array([1, 0, 2, 1]), ("x", "y", "z")), tokenizer, max_length)
    wanted = tokenizer(
        TEXTS, PAIRS if pairs else None, truncation=True, max_length=max_length, padding=True, return_tensors="pt"
    )
    rows = np.array([2, 0, 3, 1])
    batch = tokenized.batch(rows)
    width = wanted["input_ids"].shape[1]
    for name, tensor in batch.inputs.items():
        assert tensor.dtype == torch.int64
        np.testing.assert_array_equal(tensor[:, :width], wanted[name][rows])
        assert not tensor[:, width:].any()
    assert batch.labels.tolist() == [2, 1, 1, 0]
    assert batch.rows.tolist() == [2, 0, 3, 1]
    np.testing.assert_array_equal(tokenized.lengths, wanted["attention_mask"].sum(-1))
    assert len(tokenized) == len(batch) == 4


def test_rows_with_and_without_a_pair_in_one_file(tokenizer):
    for texts in ([("a",), ("b", "c d")], [("b", "c d"), ("a",)]):
        tokenized = TokenizedExamples(Examples(texts, np.array([0, 1]), ("x", "y")), tokenizer, 16)
        for row, parts in enumerate(texts):
            wanted = tokenizer(*parts)
            batch = tokenized.batch(np.array([row]))
            length = len(wanted["input_ids"])
            assert batch.input_ids[0, :length].tolist() == wanted["input_ids"]
            assert batch.token_type_ids[0, :length].tolist() == wanted["token_type_ids"]


def test_thousands_of_rows_keep_their_order(tokenizer):
    words = list("abcdefgh")
    texts = [(" ".join(words[: row % 7 + 1]),) for row in range(2500)]
    tokenized = TokenizedExamples(Examples(texts, np.arange(2500), ("x",)), tokenizer, 16)
    assert tokenized.lengths.tolist() == [row % 7 + 3 for row in range(2500)]


def test_in_order_gives_every_row_once_the_longest_first(tokenizer):
    texts = [(" ".join("a" * (1 + row * 5 % 11)),) for row in range(11)]
    tokenized = TokenizedExamples(Examples(texts, np.zeros(11, np.int64), ("x",)), tokenizer, 16)
    batches = list(tokenized.in_order(4))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    rows = np.concatenate([batch.rows for batch in batches])
    assert sorted(rows) == list(range(11))
    assert (np.diff(tokenized.lengths[rows]) <= 0).all()


# -- the sampler ---------------------------------------------------------------------------------------------


RNG_LENGTHS = np.random.default_rng(0).integers(3, 300, 1003)


def all_steps(sampler):
    return [sampler.rows(step) for step in range(sampler.steps)]


def test_a_sampler_depends_on_its_seed_alone_and_not_on_what_was_asked_before():
    first, second, other = (BatchSampler(RNG_LENGTHS, 8, 2.5, seed) for seed in (5, 5, 6))
    assert first.steps == second.steps == round(2.5 * (1003 // 8))
    there = all_steps(first)
    for step in (311, 3, 200, 126, 0, 125):
        np.testing.assert_array_equal(second.rows(step), there[step])
    assert any(set(a) != set(b) for a, b in zip(there, all_steps(other), strict=True))


def test_every_epoch_takes_each_row_at_most_once_in_an_order_of_its_own():
    steps = all_steps(BatchSampler(RNG_LENGTHS, 8, 3, 0))
    assert all(len(rows) == 8 for rows in steps)
    epochs = [np.concatenate(steps[start : start + 125]) for start in (0, 125, 250)]
    for rows in epochs:
        assert len(set(rows.tolist())) == 1000  # three are left out
    for one, other in pairwise(epochs):
        assert (one != other).mean() > 0.9
    assert len(set.intersection(*(set(range(1003)) - set(rows.tolist()) for rows in epochs))) == 0  # others each time
    batches = [{frozenset(rows.tolist()) for rows in steps[start : start + 125]} for start in (0, 125, 250)]
    assert len(batches[0] & batches[1]) < 5  # rows meet others


def test_rows_of_a_batch_are_of_like_lengths_and_lengths_come_in_random_order():
    steps = all_steps(BatchSampler(RNG_LENGTHS, 8, 1, 0))
    spread = np.mean([np.ptp(RNG_LENGTHS[rows]) for rows in steps])
    unsorted = np.mean([np.ptp(RNG_LENGTHS[start : start + 8]) for start in range(0, 1000, 8)])
    assert spread < unsorted / 10
    means = np.array([RNG_LENGTHS[rows].mean() for rows in steps])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


@pytest.mark.parametrize(("epochs", "steps"), [(1, 5), (0.5, 2), (0.01, 1), (2.4, 12)])
def test_epochs_may_be_a_fraction(epochs, steps):
    assert BatchSampler(RNG_LENGTHS[:23], 4, epochs, 0).steps == steps


def test_fewer_rows_than_a_batch():
    assert BatchSampler(RNG_LENGTHS[:8], 8, 1, 0).steps == 1
    with pytest.raises(InputError, match="7 rows do not fill a batch of 8"):
        BatchSampler(RNG_LENGTHS[:7], 8, 1, 0)
