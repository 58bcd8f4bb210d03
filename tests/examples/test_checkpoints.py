"""examples/checkpoints/: what they write loads again and is what was asked for."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from trbert_deploy.checkpoint import load_checkpoint, load_tokenizer
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.data import read_examples
from trbert_deploy.training.evaluation import evaluate

EXAMPLES = Path(__file__).parents[2] / "examples" / "checkpoints"


@pytest.fixture
def run(monkeypatch):
    """Runs a script in this process, where everything is imported: its exit code and what it said at its end."""

    def run(name, *given):
        script = str(EXAMPLES / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [script, *map(str, given)])
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1, str(end.code)
        return 0, ""

    return run


def saves(folder, data):
    """FLOPs ratio and kept counts on all rows."""
    checkpoint = load_checkpoint(folder)
    examples = read_examples(data, checkpoint.model.config.label_names)
    rows = TokenizedExamples(examples, load_tokenizer(folder), 48)
    evaluation = evaluate(checkpoint.model, rows, keep=[])
    return evaluation.flops_ratio, evaluation.kept


@pytest.mark.parametrize("ratio", [1.6, 1.85])
def test_shifted_selectors_save_what_was_asked_for(run, toy_run, tmp_path, ratio):
    data = toy_run / "rows.jsonl"  # fewer rows than the script draws: it takes them all
    done = run("shift_selectors", toy_run / "model", tmp_path / "out", "--data", data, "--ratio", ratio)
    assert done == (0, "")
    reached, kept = saves(tmp_path / "out", data)
    assert reached == pytest.approx(ratio, rel=0.05)
    before_ratio, before = saves(toy_run / "model", data)
    first = np.sign(kept - before)[:, 0]  # of the first reduction: every row keeps more, or every row fewer
    assert set(first) <= ({0, 1} if ratio < before_ratio else {0, -1})
    assert first.any()
    old, new = (load_checkpoint(folder).model.state_dict() for folder in (toy_run / "model", tmp_path / "out"))
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"selectors.0.score.bias", "selectors.1.score.bias"}


def test_a_ratio_that_no_shift_reaches_is_refused(run, toy_run, tmp_path):
    given = [toy_run / "model", tmp_path / "out", "--data", toy_run / "rows.jsonl", "--ratio", "50"]
    code, said = run("shift_selectors", *given)
    assert code == 1
    assert "no shift within 4.0 saves 50.0x" in said
    assert not (tmp_path / "out").exists()


def test_half_the_size_is_the_same_weights_rounded(run, toy_run, tmp_path):
    assert run("half_size", toy_run / "model", tmp_path / "small") == (0, "")
    old, new = (load_checkpoint(folder).model.state_dict() for folder in (toy_run / "model", tmp_path / "small"))
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        assert torch.equal(tensor.half().float(), new[name]), name
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (toy_run / "model", tmp_path / "small")]
    assert sizes[1] < 0.6 * sizes[0]
    load_tokenizer(tmp_path / "small")


def test_half_size_refuses_what_is_no_checkpoint(run, tmp_path):
    code, said = run("half_size", tmp_path, tmp_path / "small")
    assert code == 1
    assert "has no model.safetensors" in said
    assert not (tmp_path / "small").exists()
