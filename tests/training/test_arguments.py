"""What a training can be asked for."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from trbert_deploy.core.attributes import attribute_docs
from trbert_deploy.core.errors import InputError
from trbert_deploy.training.arguments import TrainingArguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 1}, "samples must be at least 2"),
        ({"joint_epochs": 0}, "joint_epochs must be greater than 0"),
        ({"selector_epochs": math.inf}, "selector_epochs must be greater than 0 and finite, not inf"),
        ({"fine_tune_epochs": math.nan}, "fine_tune_epochs must be greater than 0 and finite, not nan"),
        ({"joint_learning_rate": math.inf}, "joint_learning_rate must be greater than 0 and finite, not inf"),
        ({"warmup": 1.5}, "warmup must lie between 0 and 1"),
        ({"hold_out": 0.0}, "hold_out must be greater than 0 and less than 1"),
        ({"hold_out": 1.0}, "hold_out must be greater than 0 and less than 1"),
        ({"precision": "int8"}, "one of no, bf16, fp16"),
        ({"device": "tpu"}, "device 'tpu' is not one of cpu, cuda"),
        ({"alphas": ()}, "alphas must be numbers from 0 on"),
        ({"labels": ("a", "a")}, "different names"),
        ({"seed": -1}, "seed must be 0 at least"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        TrainingArguments(**arguments)


def test_every_argument_says_what_it_is():
    """The command line shows it."""
    docs = attribute_docs(TrainingArguments)
    assert list(docs) == [field.name for field in fields(TrainingArguments)]
    assert all(docs.values())


def test_the_commands_help_says_which_hold_outs_are_refused(cli):
    shown = cli("train", "--help", env={"COLUMNS": "300"}).stdout
    (line,) = (line for line in shown.splitlines() if line.strip(" │").startswith("--hold-out"))
    assert "greater than 0 and less than 1" in line
    assert "<=" not in line
