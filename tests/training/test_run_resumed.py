"""Trainings that were killed or interrupted go on."""

from __future__ import annotations

import pytest
import torch
from marker_texts import FILLERS, write_texts
from training_told import KilledError, Told

from trbert_deploy.bundle import open_bundle
from trbert_deploy.checkpoint import load_checkpoint, load_tokenizer
from trbert_deploy.text.tokenizer import BundleTokenizer
from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.metrics import read_metrics
from trbert_deploy.training.run import train


@pytest.fixture(scope="module")
def short_run(encoder, tmp_path_factory):
    """A training in one go, and how to train the same elsewhere; dropout and sampling are at work."""
    folder = tmp_path_factory.mktemp("short")
    data = write_texts(folder / "few.jsonl", 270)
    short = {"fine_tune_epochs": 1.0, "selector_epochs": 1.0, "joint_epochs": 1.0, "samples": 2}
    arguments = TrainingArguments(dropout=0.1, batch_size=16, save_every=6, **short)

    def train_into(out, **options):
        train(encoder, data, out, arguments, alphas=[0.5], device="cpu", **options)

    train_into(folder / "whole")
    return folder / "whole", train_into


@pytest.mark.parametrize(("phase", "step"), [("fine-tuning", 11), ("selectors", 12), ("joint", 13)])
def test_a_killed_run_goes_on_to_the_same_weights(phase, step, short_run, tmp_path):
    """The random generators have to be restored too."""
    whole_folder, train_into = short_run
    killed = tmp_path / "killed"
    with pytest.raises(KilledError):
        train_into(killed, reporter=Told(phase, step))
    assert not (killed / "alpha-0.5" / "model").exists()
    train_into(killed)
    for part in ("teacher", "alpha-0.5/selectors", "alpha-0.5/model"):
        whole = load_checkpoint(whole_folder / part).model.state_dict()
        resumed = load_checkpoint(killed / part).model.state_dict()
        assert whole.keys() == resumed.keys()
        for name, tensor in whole.items():
            assert torch.equal(tensor, resumed[name]), (part, name)
    for metrics in ("metrics.jsonl", "alpha-0.5/metrics.jsonl"):
        whole_lines, resumed_lines = (read_metrics(run / metrics) for run in (whole_folder, killed))
        assert [line["step"] for line in whole_lines] == [line["step"] for line in resumed_lines]


def test_an_interrupted_run_says_how_to_go_on_and_from_where_it_does(encoder, tmp_path):
    data = write_texts(tmp_path / "few.jsonl", 120)
    short = {"fine_tune_epochs": 1.0, "selector_epochs": 1.0, "joint_epochs": 0.5, "samples": 2}
    arguments = TrainingArguments(batch_size=16, save_every=3, device="cpu", **short)
    told = Told("selectors", 5, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train(encoder, data, tmp_path / "run", arguments, reporter=told)
    assert told.notes[-1] == "interrupted in alpha 1 selectors; the same command again goes on after its step 3"

    told = Told("joint", 1, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train(encoder, data, tmp_path / "run", arguments, reporter=told)
    assert told.notes == [
        "training on 114 rows, 16 a step; evaluating on 6; phases: fine-tuning 7 steps, done; "
        "alpha 1 selectors 7 steps, from step 3 on; alpha 1 joint 4 steps",
        "interrupted in alpha 1 joint; the same command again goes on from its beginning",
    ]
    assert next(progress.done for progress in told.progresses if progress.part == "alpha 1 selectors") == 3

    told = Told("evaluating teacher", 6, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train(encoder, data, tmp_path / "run", arguments, reporter=told)
    assert told.notes[-1] == f"interrupted; {tmp_path / 'run'} keeps what is done: the same command again goes on"


def test_an_export_cuts_rows_where_the_training_did(cli, encoder, tmp_path):
    """The model has 40 positions; bundle, checkpoints and training agree on fewer, in a run that went on too."""
    data = write_texts(tmp_path / "few.jsonl", 60)
    arguments = TrainingArguments(
        max_length=20, batch_size=16, samples=2, fine_tune_epochs=1, selector_epochs=1, joint_epochs=1
    )
    run = tmp_path / "run"

    with pytest.raises(KilledError):
        train(encoder, data, run, arguments, device="cpu", reporter=Told("joint", 1))
    first = train(encoder, data, run, arguments, device="cpu")
    for part in ("teacher", "alpha-1/selectors", "alpha-1/model"):
        assert load_tokenizer(run / part).model_max_length == 20
    assert train(encoder, data, run, arguments, device="cpu") == first
    result = cli("export", run / "alpha-1" / "model", "--out", tmp_path / "bundle")
    assert result.exit_code == 0, result.stderr
    (row,) = BundleTokenizer.of(open_bundle(tmp_path / "bundle")).encode([{"text": " ".join(FILLERS)}])
    assert row.truncated
    assert row.length == 20
