from __future__ import annotations

import json

import numpy as np
import pytest

from trbert_deploy.api import load
from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.selection import budget, budget_counts
from trbert_deploy.runtimes.shape_buckets import quantile_buckets
from trbert_deploy.shape_buckets import choose_shape_buckets

NAME = "distilbert3-sequence-classification"


@pytest.fixture(scope="module")
def bundle(golden_bundle):
    return open_bundle(golden_bundle(NAME))


@pytest.fixture
def rows(bundle, tmp_path):
    rng = np.random.default_rng(0)
    lengths = [5, 9, 17, 30, 44, 60, 71, 90]
    file = tmp_path / "rows.jsonl"
    ids = [rng.integers(0, bundle.manifest.task.inputs[0].maximum + 1, length).tolist() for length in lengths]
    file.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in ids))
    return file, lengths, ids


def test_by_hand(bundle):
    shapes = choose_shape_buckets(bundle, buckets="64,32/16", rows=3, entries=2)
    assert (shapes.lengths, shapes.kept, shapes.rows, shapes.entries) == ((32, 64), ((16,),), 3, 2)


def test_quantiles_of_lengths_and_of_what_the_model_keeps(bundle, rows):
    file, lengths, ids = rows
    said = []
    shapes = choose_shape_buckets(bundle, data=file, say=said.append)
    assert shapes.lengths == quantile_buckets(lengths, 96)
    with load(bundle) as engine:
        kept = [len(engine.run(input_ids=[row], return_selection=True).selection[0][0]) for row in ids]
    assert shapes.kept == (quantile_buckets(kept, 96),)
    assert said == ["counting tokens in the 8 rows of rows.jsonl"]


def test_a_budget_is_counted_without_running(golden_bundle, rows, monkeypatch):
    monkeypatch.setattr("trbert_deploy.shape_buckets.load", None)
    budgeted = open_bundle(golden_bundle(NAME, "0.25"))
    file, lengths, _ = rows
    shapes = choose_shape_buckets(budgeted, data=file)
    assert shapes.kept == (quantile_buckets(budget(np.array(lengths), 0.25).tolist(), 24),)


def test_without_data_they_double(bundle):
    said = []  # this checkpoint has no tokenizer: the reviews cannot be counted
    shapes = choose_shape_buckets(bundle, say=said.append)
    assert (shapes.lengths, shapes.kept) == ((32, 64, 96), ((32, 64, 96),))
    assert said[0].startswith("no data")


def test_data_that_cannot_be_used_is_an_error_where_it_was_given(bundle, tmp_path):
    with pytest.raises(InputError):
        choose_shape_buckets(bundle, data=tmp_path / "absent.jsonl")


def test_entries_are_as_many_as_the_data_has(golden_bundle, tmp_path):
    choices = open_bundle(golden_bundle("bert-multiple-choice"))
    line = {"input_ids": [[2, 5, 7, 3], [2, 6, 3, 3], [2, 6, 7, 3]], "question_end": 2}
    (tmp_path / "choices.jsonl").write_text(json.dumps(line) + "\n")
    assert choose_shape_buckets(choices, data=tmp_path / "choices.jsonl").entries == 3
    wikihop = open_bundle(golden_bundle("bert-wikihop"))
    rows = [{"input_ids": [2, 5, 6, 3], "candidate_positions": [1] * count} for count in (1, 5, 2)]
    (tmp_path / "wikihop.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert choose_shape_buckets(wikihop, data=tmp_path / "wikihop.jsonl").entries == 5
    assert choose_shape_buckets(wikihop, buckets="64").entries == 64
    assert choose_shape_buckets(choices, buckets="64").entries == 4


def test_question_tokens_are_counted_beyond_the_budget():
    lengths, ends = np.array([10, 10, 10]), np.array([9, 4, 10])
    assert budget_counts(lengths, 0.3, ends).tolist() == [3, 7, 3]
    assert budget_counts(lengths, 0.3, None).tolist() == [3, 3, 3]
