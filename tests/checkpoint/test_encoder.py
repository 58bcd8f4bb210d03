"""Bare encoders against transformers' own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from trbert_deploy.checkpoint import is_encoder, load_checkpoint, load_encoder
from trbert_deploy.core.errors import CheckpointError
from trbert_deploy.model.stage import enter

SIZES = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
}
NAMES = ["BertModel", "BertForMaskedLM", "BertForPreTraining", "DistilBertModel", "DistilBertForMaskedLM"]
IDS = torch.tensor([[2, 15, 26, 37, 3], [2, 9, 3, 0, 0]])
MASK = (IDS > 0).long()


def save(name, folder, **options):
    """A random transformers model of a class, saved: the model."""
    kind = "distilbert" if name.startswith("Distil") else "bert"
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=40, max_position_embeddings=32, initializer_range=0.3, **SIZES[kind]
    )
    torch.manual_seed(0)
    model = getattr(transformers, name)(config, **options).eval()
    model.save_pretrained(folder)
    return model


def encoder_of(model):
    return getattr(model, model.base_model_prefix, model)


@pytest.mark.parametrize("name", NAMES)
def test_last_states_are_transformers(tmp_path, name):
    theirs = encoder_of(save(name, tmp_path))
    assert is_encoder(tmp_path)
    checkpoint = load_encoder(tmp_path, ["a", "b", "c"])
    assert checkpoint.source_class == name
    assert checkpoint.folder == tmp_path
    assert not checkpoint.has_selectors
    ours = checkpoint.model
    assert not ours.training
    assert ours.config.num_labels == 3
    assert ours.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert ours.config.label2id == {"a": 0, "b": 1, "c": 2}
    with torch.inference_mode():
        types = {"token_type_ids": torch.tensor([[0, 0, 0, 1, 1], [0, 1, 1, 0, 0]])}
        if name.startswith("Distil"):
            types = {}
        wanted = theirs(IDS, MASK, **types).last_hidden_state
        tokens = enter(ours, {"input_ids": IDS, "attention_mask": MASK, **types})
        states = ours.run_layers(0, 2, tokens.states, tokens.valid, tokens.positions)
    np.testing.assert_allclose(states[MASK > 0], wanted[MASK > 0], atol=1e-5)


@pytest.mark.parametrize("name", ["BertModel", "BertForPreTraining"])
def test_a_pretrained_pooler_is_taken_over(tmp_path, name):
    theirs = encoder_of(save(name, tmp_path))
    ours = load_encoder(tmp_path, ["a", "b"]).model
    with torch.inference_mode():
        wanted = theirs(IDS, MASK).pooler_output
        inputs = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": torch.zeros_like(IDS)}
        tokens = enter(ours, inputs)
        states = ours.run_layers(0, 2, tokens.states, tokens.valid, tokens.positions)
        pooled = torch.tanh(ours.head.dense(states[:, 0]))
    np.testing.assert_allclose(pooled, wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "DistilBertModel"])
def test_a_new_head_is_drawn_from_torchs_generator(tmp_path, name):
    save(name, tmp_path)
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(load_encoder(tmp_path, ["a", "b"]).model.head.state_dict())
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])
    for key in ("dense.weight", "classifier.weight"):
        assert not torch.equal(heads[0][key], heads[2][key])
        assert heads[0][key].abs().sum() > 0


def test_an_encoder_saved_without_pooler(tmp_path):
    save("BertModel", tmp_path, add_pooling_layer=False)
    assert load_encoder(tmp_path, ["a", "b"]).model.head.classifier.weight.shape == (2, 16)


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "DistilBertForQuestionAnswering"])
def test_a_model_with_a_task_head_is_no_encoder(tmp_path, name):
    save(name, tmp_path)
    assert not is_encoder(tmp_path)
    with pytest.raises(CheckpointError, match=f"no bare encoder.*{name}"):
        load_encoder(tmp_path, ["a", "b"])


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json"):
        is_encoder(tmp_path)


def test_an_encoder_alone_cannot_be_exported_and_the_error_says_how_to_train_it(tmp_path):
    save("BertModel", tmp_path)
    with pytest.raises(CheckpointError, match=r"bare encoder.*trbert-deploy train"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["BertModel", "DistilBertForMaskedLM"])
def test_missing_and_unknown_weights_are_named(tmp_path, name):
    save(name, tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    lost = next(key for key in weights if key.endswith("embeddings.word_embeddings.weight"))
    weights["strange.weight"] = weights.pop(lost)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing: .*word_embeddings.*unexpected: .*strange"):
        load_encoder(tmp_path, ["a", "b"])


def test_a_configuration_that_describes_no_model(tmp_path):
    save("BertModel", tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_attention_heads": 3}))
    with pytest.raises(CheckpointError, match="describes no model"):
        load_encoder(tmp_path, ["a", "b"])
