"""Folders of every kind, in and out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from edited_json import edit_config

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import CheckpointError

SMALL_BERT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}


def test_upstream_becomes_ours_by_one_call(golden, golden_name, tmp_path, answer):
    case = golden(golden_name)
    load_checkpoint(case.folder).model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["architectures"] == [type(case.model).__name__]
    assert written["model_type"] == "trbert"
    again = load_checkpoint(tmp_path)
    assert again.has_selectors
    assert again.source_class == type(case.model).__name__
    assert not again.model.training
    for row in case.rows[:3]:
        outputs, kept = answer(again.model, row.inputs)
        for name, wanted in row.outputs.items():
            np.testing.assert_allclose(outputs[name], wanted, rtol=0, atol=1e-4)
        if row.kept is not None:
            assert [step[0] for step in kept[: len(row.kept)]] == row.kept


def test_every_upstream_weight_arrives(golden, golden_name):
    """By shapes and sums: nothing is initialised at random, nothing lost but what no class reads."""
    case = golden(golden_name)
    raw = torch.load(case.folder / "pytorch_model.bin", weights_only=True)
    unused = ("position_ids",)
    reads_pooler = case.model.task.name in ("sequence-classification", "multiple-choice")
    theirs = {
        (tuple(tensor.shape), round(float(tensor.double().sum()), 6))
        for key, tensor in raw.items()
        if not key.endswith(unused) and (reads_pooler or "pooler" not in key)
    }
    ours = {
        (tuple(tensor.shape), round(float(tensor.double().sum()), 6))
        for key, tensor in case.model.state_dict().items()
        if not key.endswith(unused)
    }
    left = {shape for shape, _ in theirs - ours}
    assert ours <= theirs
    if case.model.num_stages == 3:
        assert left == set()
    else:  # a shallow model has one reduction, and the second selector is never read
        assert left <= {(32, 32), (32,), (1, 32), (1,)}


def test_labels_are_carried_over(folder, tmp_path):
    edit_config(folder, id2label={"0": "bad", "1": "so so", "2": "good"}, label2id={"bad": 0, "so so": 1, "good": 2})
    model = load_checkpoint(folder).model
    assert model.config.id2label == {0: "bad", 1: "so so", 2: "good"}
    model.save_pretrained(tmp_path / "out")
    assert load_checkpoint(tmp_path / "out").model.config.id2label == {0: "bad", 1: "so so", 2: "good"}


def test_num_labels_alone_is_enough(folder):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    del config["id2label"], config["label2id"]
    file.write_text(json.dumps(config | {"num_labels": 3}))
    assert load_checkpoint(folder).model.config.num_labels == 3


# -- plain transformers checkpoints --------------------------------------------------------------------------


def test_a_plain_checkpoint_has_no_selectors(tmp_path):
    config = transformers.BertConfig(**SMALL_BERT)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    assert not checkpoint.has_selectors
    assert checkpoint.source_class == "BertForSequenceClassification"
    assert checkpoint.folder == tmp_path


@pytest.mark.parametrize("name", ["BertModel", "DistilBertModel", "BertForMaskedLM", "BertForPreTraining"])
def test_a_bare_encoder_is_told_about_train(tmp_path, name):
    config_class = transformers.DistilBertConfig if "Distil" in name else transformers.BertConfig
    config = config_class(dim=16, n_heads=2, n_layers=2) if "Distil" in name else config_class(**SMALL_BERT)
    getattr(transformers, name)(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="bare encoder") as caught:
        load_checkpoint(tmp_path)
    assert name in caught.value.message
    assert "train" in caught.value.hint


def test_sharded_safetensors(tmp_path):
    torch.manual_seed(0)
    theirs = transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL_BERT)).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="5KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert not (tmp_path / "model.safetensors").exists()
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.inference_mode():
        wanted = theirs(ids).logits
        torch.testing.assert_close(load_checkpoint(tmp_path).model(ids).outputs["logits"], wanted, rtol=0, atol=1e-6)
    shards[1].unlink()
    with pytest.raises(CheckpointError, match="is missing, but the checkpoint's index names it") as caught:
        load_checkpoint(tmp_path)
    assert shards[1].name in caught.value.message


def test_sharded_pickles(folder, answer, golden):
    raw = torch.load(folder / "pytorch_model.bin", weights_only=True)
    keys = sorted(raw)
    halves = {"pytorch_model-00001-of-00002.bin": keys[::2], "pytorch_model-00002-of-00002.bin": keys[1::2]}
    for name, half in halves.items():
        torch.save({key: raw[key] for key in half}, folder / name)
    (folder / "pytorch_model.bin").unlink()
    index = {"weight_map": {key: name for name, half in halves.items() for key in half}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    row = golden("bert-sequence-classification").rows[2]
    outputs, _ = answer(load_checkpoint(folder).model, row.inputs)
    np.testing.assert_allclose(outputs["logits"], row.outputs["logits"], rtol=0, atol=1e-4)


def test_gamma_and_beta_of_the_oldest_checkpoints(folder, answer, golden):
    raw = torch.load(folder / "pytorch_model.bin", weights_only=True)
    old = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for key, tensor in raw.items()
    }
    assert old.keys() != raw.keys()
    torch.save(old, folder / "pytorch_model.bin")
    row = golden("bert-sequence-classification").rows[2]
    outputs, _ = answer(load_checkpoint(folder).model, row.inputs)
    np.testing.assert_allclose(outputs["logits"], row.outputs["logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_become_float32(folder, dtype):
    raw = torch.load(folder / "pytorch_model.bin", weights_only=True)
    converted = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in raw.items()}
    torch.save(converted, folder / "pytorch_model.bin")
    model = load_checkpoint(folder).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_reference_inside_a_bundle_folder(golden_bundle):
    bundle = golden_bundle("bert-sequence-classification")
    assert load_checkpoint(bundle).folder == bundle / "reference"


@pytest.mark.parametrize("number", ["NaN", "1e999", "9" * 5000, "[" * 10_000])
def test_a_config_of_numbers_that_json_does_not_have(folder, number):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(f'{{"more": {number}, ' + text[1:])
    with pytest.raises(CheckpointError, match=r"config\.json is not valid JSON: "):
        load_checkpoint(folder)
