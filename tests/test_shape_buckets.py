from __future__ import annotations

import json

import numpy as np
import pytest
from trbert_deploy.runtimes.tensorrt.buckets import quantile_buckets

from trbert_deploy.api import load
from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.selection import budget, budget_counts
from trbert_deploy.shape_buckets import choose_grid

NAME = "distilbert3-sequence-classification"


@pytest.fixture(scope="module")
def bundle(golden_bundle):
    return open_bundle(golden_bundle(NAME))


@pytest.fixture
def rows(bundle, tmp_path):
    rng = np.random.default_rng(0)
    lengths = [5, 9, 17, 30, 44, 60, 71, 90]
    file = tmp_path / "rows.jsonl"
    ids = [rng.integers(0, bundle.manifest.limits.vocab_size, length).tolist() for length in lengths]
    file.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in ids))
    return file, lengths, ids


def test_by_hand(bundle):
    grid = choose_grid(bundle, buckets="64,32/16", rows=3, items=2)
    assert (grid.lengths, grid.kept, grid.rows, grid.items) == ((32, 64), ((16,),), 3, 2)


def test_quantiles_of_lengths_and_of_what_the_model_keeps(bundle, rows):
    file, lengths, ids = rows
    said = []
    grid = choose_grid(bundle, data=file, say=said.append)
    assert grid.lengths == quantile_buckets(lengths, 96)
    with load(bundle) as engine:
        kept = [len(engine.run(input_ids=[row], return_selection=True).selection[0][0]) for row in ids]
    assert grid.kept == (quantile_buckets(kept, 96),)
    assert said == ["counting tokens in the 8 rows of rows.jsonl"]


def test_a_budget_is_counted_without_running(golden_bundle, rows, monkeypatch):
    monkeypatch.setattr("trbert_deploy.api.load", None)
    budgeted = open_bundle(golden_bundle(NAME, "0.25"))
    file, lengths, _ = rows
    grid = choose_grid(budgeted, data=file)
    assert grid.kept == (quantile_buckets(budget(np.array(lengths), 0.25).tolist(), 24),)


def test_without_data_they_double(bundle):
    said = []  # this checkpoint has no tokenizer: the reviews cannot be counted
    grid = choose_grid(bundle, say=said.append)
    assert (grid.lengths, grid.kept) == ((32, 64, 96), ((32, 64, 96),))
    assert said[0].startswith("no data")


def test_data_that_cannot_be_used_is_an_error_where_it_was_given(bundle, tmp_path):
    with pytest.raises(InputError):
        choose_grid(bundle, data=tmp_path / "absent.jsonl")


def test_question_tokens_are_counted_beyond_the_budget():
    lengths, ends = np.array([10, 10, 10]), np.array([9, 4, 10])
    assert budget_counts(lengths, 0.3, ends).tolist() == [3, 7, 3]
    assert budget_counts(lengths, 0.3, None).tolist() == [3, 3, 3]
