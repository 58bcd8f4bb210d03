"""The lines of metrics that a training writes."""

from __future__ import annotations

import json

from trbert_deploy.training.metrics import Metrics, read_metrics


def test_a_line_averages_the_steps_since_the_last(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.begin("a", 0)
    for step, loss in enumerate([1.0, 2.0, 6.0, 5.0, 7.0], 1):
        metrics.add(step, {"loss": loss}, write=step in (3, 5))
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"phase": "a", "step": 3, "loss": 3.0},
        {"phase": "a", "step": 5, "loss": 6.0},
    ]
    assert metrics.latest == {"loss": 6.0}


def test_going_on_drops_later_lines_of_the_phase_alone_and_what_a_kill_cut_short(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = [{"phase": "a", "step": 9}, {"phase": "b", "step": 3}, {"phase": "b", "step": 6}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"phase": "b", "st')
    metrics = Metrics(file)
    metrics.begin("b", 3)
    metrics.add(4, {"loss": 0.5}, write=True)
    assert read_metrics(file) == [*lines[:2], {"phase": "b", "step": 4, "loss": 0.5}]


def test_a_second_process_writes_nothing(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"phase": "a", "step": 5}\n')
    metrics = Metrics(file, enabled=False)
    metrics.begin("a", 0)
    metrics.add(1, {"loss": 0.5}, write=True)
    assert read_metrics(file) == [{"phase": "a", "step": 5}]
