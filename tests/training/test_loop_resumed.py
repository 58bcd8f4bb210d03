"""Killed runs of the loop against whole ones."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from loop_runs import STEPS, assert_same_weights, phase_of, train
from training_told import KilledError

from trbert_deploy.training.metrics import read_metrics

pytestmark = pytest.mark.usefixtures("fresh_accelerate")


@pytest.mark.parametrize("kind", ["fine-tuning", "selectors", "joint"])
def test_a_killed_run_that_goes_on_ends_with_the_weights_of_a_whole_one(kind, tiny_model, examples, tmp_path):
    start, whole = phase_of(kind, tiny_model), phase_of(kind, tiny_model)
    train(whole, examples, tmp_path / "whole")
    assert any(not torch.equal(a, b) for a, b in zip(start.parameters(), whole.parameters(), strict=True))
    for kill_at in (3, 8, 14, 12):  # before the first state; with steps lost; at the last one; nothing new is saved
        with pytest.raises(KilledError):
            train(phase_of(kind, tiny_model), examples, tmp_path / "killed", kill_at=kill_at)
    resumed = phase_of(kind, tiny_model)
    told = train(resumed, examples, tmp_path / "killed")
    assert [done for done, *_ in told] == [11, 12, 13, 14, 15]  # it did not begin anew
    assert_same_weights(resumed, whole)
    lines = [read_metrics(tmp_path / run / "metrics.jsonl") for run in ("whole", "killed")]
    assert [line["step"] for line in lines[1]] == list(range(1, STEPS + 1))
    assert lines[0] == lines[1]


@pytest.mark.parametrize("kind", ["fine-tuning", "joint"])
def test_dropout_and_sampling_make_the_random_state_matter(kind, tiny_model, examples, tmp_path):
    """Else the test above would see nothing of it."""
    phases = [phase_of(kind, tiny_model) for _ in range(2)]
    for seed, phase in enumerate(phases):
        original = torch.manual_seed
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "manual_seed", lambda _, seed=seed, original=original: original(seed))
            train(phase, examples, tmp_path / str(seed), epochs=0.4)
    assert any(not torch.equal(a, b) for a, b in zip(*(phase.parameters() for phase in phases), strict=True))


def test_a_kill_while_a_state_is_written_falls_back_to_the_one_before(tiny_model, examples, tmp_path, monkeypatch):
    whole, resumed = phase_of("joint", tiny_model), phase_of("joint", tiny_model)
    train(whole, examples, tmp_path / "whole")
    save = Accelerator.save_state
    saved = []

    def cut_short(self, folder, *args, **options):
        save(self, folder, *args, **options)
        saved.append(folder)
        if len(saved) == 2:
            for file in tmp_path.glob("killed/state/partial/*"):
                file.write_bytes(file.read_bytes()[:10])
            (tmp_path / "killed/state/partial/stale").touch()
            raise KilledError

    monkeypatch.setattr(Accelerator, "save_state", cut_short)
    with pytest.raises(KilledError):
        train(phase_of("joint", tiny_model), examples, tmp_path / "killed")
    told = train(resumed, examples, tmp_path / "killed")
    assert told[0][0] == 6
    assert [path.name for path in (tmp_path / "killed/state").iterdir()] == ["step-10"]
    assert not [*tmp_path.glob("killed/state/*/stale")]
    assert_same_weights(resumed, whole)


def test_only_the_latest_state_takes_up_space(tiny_model, examples, tmp_path):
    train(phase_of("fine-tuning", tiny_model), examples, tmp_path, save_every=2)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step-14"]


def test_lines_after_a_kill_average_over_as_many_steps_as_before(tiny_model, examples, tmp_path):
    options = {"save_every": 5, "log_every": 3}  # a state falls between two lines
    train(phase_of("fine-tuning", tiny_model), examples, tmp_path / "whole", **options)
    with pytest.raises(KilledError):
        train(phase_of("fine-tuning", tiny_model), examples, tmp_path / "killed", kill_at=7, **options)
    train(phase_of("fine-tuning", tiny_model), examples, tmp_path / "killed", **options)
    lines = [read_metrics(tmp_path / run / "metrics.jsonl") for run in ("whole", "killed")]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    assert lines[0] == lines[1]
