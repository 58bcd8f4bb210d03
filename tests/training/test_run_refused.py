"""Trainings that are refused before anything is written."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from marker_texts import ARGUMENTS, write_texts

from trbert_deploy.checkpoint import load_tokenizer
from trbert_deploy.core.errors import CheckpointError, InputError, TRBertError
from trbert_deploy.reductions import REDUCTIONS
from trbert_deploy.training.run import train


def test_a_folder_of_something_else_is_left_alone(encoder, texts, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match="holds no training run"):
        train(encoder, texts, tmp_path, ARGUMENTS)


def test_nothing_is_written_for_data_that_cannot_be_read(encoder, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(TRBertError, match="does not exist"):
        train(encoder, tmp_path / "none.jsonl", out, ARGUMENTS)
    assert not out.exists()


def test_nothing_is_written_for_a_reduction_that_cannot_be_learned(encoder, texts, tmp_path, monkeypatch, halting):
    with pytest.raises(CheckpointError, match="reduction 'guess' is not one of selector"):
        train(encoder, texts, tmp_path / "run", ARGUMENTS, reduction="guess")
    monkeypatch.setattr(REDUCTIONS.get(halting), "make_score", lambda config: torch.nn.Identity())
    with pytest.raises(CheckpointError, match="the scores of reduction halting have no weights to learn"):
        train(encoder, texts, tmp_path / "run", ARGUMENTS, reduction=halting)
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_for_an_argument_that_there_is_not(encoder, texts, tmp_path):
    with pytest.raises(TypeError, match=r"train\(\) takes no alpha; it takes alphas, eval_data, "):
        train(encoder, texts, tmp_path / "run", alpha=1.0)
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_for_fewer_rows_than_a_step_takes(encoder, tmp_path):
    data = write_texts(tmp_path / "few.jsonl", 30)
    with pytest.raises(InputError, match="28 rows do not fill a batch of 32"):
        train(encoder, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_for_data_that_the_model_cannot_take(encoder, tmp_path):
    model = shutil.copytree(encoder, tmp_path / "model")
    tokenizer = load_tokenizer(model)
    tokenizer.add_tokens(["unheard"])
    tokenizer.save_pretrained(model)
    rows = [{"text": "good" if number else "unheard", "label": number % 2} for number in range(40)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(CheckpointError, match="unheard"):
        train(model, data, tmp_path / "run", ARGUMENTS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("alpha", [math.inf, math.nan, -1.0])
def test_alphas_that_mean_nothing_are_refused(alpha, encoder, texts, tmp_path):
    with pytest.raises(InputError, match="alphas must be numbers from 0 on"):
        train(encoder, texts, tmp_path / "run", ARGUMENTS, alphas=[1.0, alpha])
    assert not (tmp_path / "run").exists()
