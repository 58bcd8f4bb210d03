"""`trbert-deploy train`: what it says, how it is interrupted, and two processes that train one model."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from forks import Forks
from marker_texts import write_texts
from training_told import KilledError, Told

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.metrics import read_metrics
from trbert_deploy.training.run import train


def test_the_command_trains_and_names_the_next_one(cli, encoder, tmp_path):
    data = write_texts(tmp_path / "few.jsonl", 100)
    result = cli(
        "train", encoder, "--data", data, "--out", tmp_path / "run", "--alphas", "2,0.5", "--device", "cpu", "--json",
        "--fine-tune-epochs", 1, "--joint-epochs", 1, "--batch-size", 16, "--samples", 2,
        "--labels", "negative,positive",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    said = result.stderr.splitlines()
    assert said[0].startswith(
        "training on 95 rows, 16 a step; evaluating on 5; phases: fine-tuning 5 steps; alpha 0.5 selectors "
    )
    (ended,) = (line for line in said if line.startswith("alpha 0.5 joint: 5 of 5 steps, "))
    assert ended.endswith(" left")
    report = json.loads(result.stdout)
    assert [model["alpha"] for model in report["results"]["models"]] == [0.5, 2.0]
    model = tmp_path / "run" / "alpha-2" / "model"  # the first that was asked for
    assert result.stderr.splitlines()[-1] == f"next: trbert-deploy export {model} --out bundle --with-dense"
    assert load_checkpoint(model).model.config.id2label == {0: "negative", 1: "positive"}


def test_ctrl_c_says_how_to_go_on(encoder, tmp_path):
    data = write_texts(tmp_path / "few.jsonl", 100)
    command = [
        sys.executable, "-m", "trbert_deploy", "train", encoder, "--data", data, "--out", tmp_path / "run",
        "--device", "cpu", "--batch-size", "16", "--fine-tune-epochs", "5000",
    ]  # fmt: skip
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True) as process:
        begun = [next(line for line in process.stderr if line.startswith("fine-tuning: 0 of"))]
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert begun
    assert "interrupted in fine-tuning; the same command again goes on " in rest
    assert "Traceback" not in rest


def weights_of(folder):
    """All but keys' biases: they change no softmax, so their gradients are rounding, which Adam magnifies."""
    weights = load_checkpoint(folder).model.state_dict()
    return {name: weight for name, weight in weights.items() if not name.endswith("key.bias")}


#: One of several processes, as torchrun starts it; its rank and a free port come before the command.
RANK = """
import os, sys

rank, port, *words = sys.argv[1:]
os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
from trbert_deploy.cli.main import main

sys.argv = ["trbert-deploy", *words]
main()
"""


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


def test_two_processes_train_one_model(encoder, tmp_path):
    """Data parallelism over gloo: both go through every step, and one of them writes and reports.

    Fine-tuned is what one process makes of the same rows; the phases after it draw other samples.
    """
    data = write_texts(tmp_path / "few.jsonl", 120)
    command = [
        "train", encoder, "--data", data, "--out", tmp_path / "run", "--device", "cpu", "--json", "--samples", "2",
        "--fine-tune-epochs", "1", "--joint-epochs", "1", "--save-every", "3", "--batch-size", "8",
        "--micro-batch-size", "4",
    ]  # fmt: skip
    port = free_port()
    with Forks() as forks:
        result, other = forks.together([("-c", RANK, rank, port, *command) for rank in range(2)])
    assert (result.code, other.code) == (0, 0), result.stderr + other.stderr
    assert other.stdout == ""
    report = json.loads(result.stdout)
    assert report["config"]["processes"] == 2
    steps = [line["step"] for line in read_metrics(tmp_path / "run" / "alpha-1" / "metrics.jsonl")]
    assert steps == [3, 6, 7, 3, 6, 7]  # 114 rows, 16 a step
    assert load_checkpoint(tmp_path / "run" / "alpha-1" / "model").has_selectors

    arguments = TrainingArguments(batch_size=16, fine_tune_epochs=1)
    with pytest.raises(KilledError):
        train(encoder, data, tmp_path / "alone", arguments, device="cpu", reporter=Told("selectors", 1))
    ours, alone = (weights_of(tmp_path / run / "teacher") for run in ("run", "alone"))
    torch.testing.assert_close(ours, alone, rtol=0, atol=1e-5)
