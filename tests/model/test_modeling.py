"""The model against a reading of the paper with loops and lists, in every configuration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from naive_model import naive_states

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import InputError
from trbert_deploy.model import model_class
from trbert_deploy.tasks import TASKS

NAMES = sorted(TASKS.names())
SINGLE = [name for name in NAMES if TASKS.get(name).sequences_axis is None]


@pytest.mark.parametrize("keep", [None, (0.5, 0.25), (0.9, 0.9)], ids=["policy", "budget", "mild-budget"])
@pytest.mark.parametrize("task", SINGLE)
@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_each_row_is_the_naive_reading(tiny_model, random_rows, answer, task, backbone, keep):
    model = tiny_model(task, backbone)
    dropped = 0
    for row in random_rows(model, [1, 2, 3, 7, 20, 41]):
        outputs, kept = answer(model, row, keep)
        with torch.inference_mode():
            states, wanted_kept = naive_states(model, row, keep)
            inputs = {name: torch.from_numpy(array) for name, array in row.items()}
            wanted = model.apply_head(states, inputs)
        assert [step[0] for step in kept] == wanted_kept
        assert outputs.keys() == wanted.keys()
        for name, tensor in wanted.items():
            np.testing.assert_allclose(outputs[name], tensor.numpy(), rtol=0, atol=1e-5)
        dropped += row["input_ids"].shape[1] - len(wanted_kept[-1])
    assert dropped > 5


@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_a_dropped_token_keeps_the_state_it_left_with(tiny_model, random_rows, backbone):
    model = tiny_model("token-classification", backbone)
    (row,) = random_rows(model, [30])
    inputs = {name: torch.from_numpy(array) for name, array in row.items()}
    with torch.inference_mode():
        output = model(**inputs)
        arguments = {name: inputs[name] for name in (["input_ids", "token_type_ids"][: len(model.token_inputs) - 1])}
        before_first = model.encoder_layers[0](model.backbone.embeddings(**arguments), attention_mask=None)
    before_first = before_first[0] if isinstance(before_first, tuple) else before_first
    left_first = (output.keep_masks[0][0] == 0).nonzero().flatten()
    assert len(left_first) >= 2
    logits = model.head.classifier(before_first[0, left_first])
    torch.testing.assert_close(output.outputs["logits"][0, left_first], logits, rtol=0, atol=1e-5)
    stayed = (output.keep_masks[0][0] == 1).nonzero().flatten()
    early = model.head.classifier(before_first[0, stayed])
    assert not torch.allclose(output.outputs["logits"][0, stayed], early, atol=1e-2)


@pytest.mark.parametrize(
    ("layers", "reductions"), [(1, [0]), (2, [1]), (3, [1]), (4, [1, 2]), (6, [1, 3]), (12, [1, 6])]
)
@pytest.mark.parametrize("keep", [False, True], ids=["policy", "budget"])
def test_depths(tiny_model, random_rows, answer, layers, reductions, keep):
    model = tiny_model(layers=layers)
    assert model.config.reduction_layers == reductions
    assert model.num_stages == len(reductions) + 1
    fractions = (0.5, 0.2)[: len(reductions)] if keep else None
    for row in random_rows(model, [1, 2, 19]):
        outputs, kept = answer(model, row, fractions)
        with torch.inference_mode():
            states, wanted_kept = naive_states(model, row, fractions)
            (wanted,) = model.head(states, {})
        assert [step[0] for step in kept] == wanted_kept
        np.testing.assert_allclose(outputs["logits"], wanted.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("reductions", [[0], [0, 1, 2, 3], [3], [2, 3]])
@pytest.mark.parametrize("task", ["sequence-classification", "question-answering"])
def test_reductions_anywhere(tiny_model, random_rows, answer, task, reductions):
    model = tiny_model(task, reduction_layers=reductions)
    keep = (0.8, 0.6, 0.4, 0.2)[: len(reductions)]
    for row, fractions in itertools.product(random_rows(model, [1, 25]), (None, keep)):
        outputs, kept = answer(model, row, fractions)
        with torch.inference_mode():
            states, wanted_kept = naive_states(model, row, fractions)
            wanted = model.apply_head(states, {"attention_mask": torch.from_numpy(row["attention_mask"])})
        assert [step[0] for step in kept] == wanted_kept
        assert outputs.keys() == wanted.keys()
        for name, tensor in wanted.items():
            np.testing.assert_allclose(outputs[name], tensor.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", NAMES)
def test_a_row_of_one_token(tiny_model, random_rows, answer, task):
    model = tiny_model(task)
    (row,) = random_rows(model, [1])
    for keep in (None, (0.4, 0.15)):
        outputs, kept = answer(model, row, keep)
        assert kept == [[[0]], [[0]]]
        assert all(np.isfinite(array).all() for array in outputs.values())


def test_default_selection_comes_from_the_configuration(tiny_model, random_rows, answer):
    model = tiny_model()
    (row,) = random_rows(model, [20])
    model.config.keep = [0.5, 0.25]
    _, kept = answer(model, row)
    assert [len(step[0]) for step in kept] == [10, 5]
    _, kept = answer(model, row, [])  # policy, asked for explicitly
    with torch.inference_mode():
        assert [step[0] for step in kept] == naive_states(model, row)[1]
    with pytest.raises(InputError, match="2 reductions, but 1 keep"):
        answer(model, row, (0.5,))


@pytest.mark.parametrize("task", NAMES)
@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_saved_and_loaded_again(tmp_path, tiny_model, random_rows, batch_of, answer, task, backbone):
    model = tiny_model(task, backbone, layers=3, reduction_layers=[0, 2])
    model.config.keep = [0.6, 0.3]
    model.config.id2label = {0: "a", 1: "b", 2: "c"}
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    batch = batch_of(random_rows(model, [3, 14]))
    wanted, wanted_kept = answer(model, batch)
    for again in (model_class(TASKS.get(task)).from_pretrained(tmp_path), load_checkpoint(tmp_path).model):
        assert again.config.reduction_layers == [0, 2]
        assert again.config.keep == [0.6, 0.3]
        assert again.config.id2label == {0: "a", 1: "b", 2: "c"}
        assert again.config.backbone.model_type == backbone
        assert not again.training
        outputs, kept = answer(again, batch)
        assert kept == wanted_kept
        for name in wanted:
            np.testing.assert_allclose(outputs[name], wanted[name], rtol=0, atol=2e-6)
