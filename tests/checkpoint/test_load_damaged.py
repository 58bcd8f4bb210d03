"""Folders that hold no checkpoint, or a damaged one: each is refused with what is wrong."""

from __future__ import annotations

import pytest
import torch
from edited_json import edit_config
from safetensors.torch import load_file

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import CheckpointError


def test_missing_extra_and_misshapen_keys_are_all_named(folder):
    raw = torch.load(folder / "pytorch_model.bin", weights_only=True)
    del raw["bert.encoder.layer.2.attention.self.query.weight"], raw["bert.encoder.linear_1.1.bias"]
    raw["bert.encoder.linear_3.0.weight"] = torch.zeros(2)
    raw["classifier.weight"] = torch.zeros(7, 32)
    torch.save(raw, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="do not fit the model") as caught:
        load_checkpoint(folder)
    message = caught.value.message
    missing, extra, misshapen = (message.index(word) for word in ("missing:", "unexpected:", "of another shape:"))
    assert missing < message.index("layer.2.attention.self.query.weight") < extra
    assert missing < message.index("selectors.1.dense.bias") < extra
    assert extra < message.index("linear_3.0.weight") < misshapen
    assert message.index("head.classifier.weight is [7, 32], should be [3, 32]") > misshapen


def test_an_upstream_checkpoint_without_selectors_is_refused(folder):
    raw = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({key: value for key, value in raw.items() if ".linear_" not in key}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"missing: selectors\.0\.dense\.bias, .*selectors\.1\.score\.weight"):
        load_checkpoint(folder)


def test_our_own_format_is_as_strict(own_folder):
    from safetensors.torch import save_file

    weights = load_file(own_folder / "model.safetensors")
    weights["head.more"] = weights.pop("head.classifier.bias")
    save_file(weights, own_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing: head\.classifier\.bias; unexpected: head\.more"):
        load_checkpoint(own_folder)


def test_config_that_disagrees_with_the_weights(folder):
    edit_config(folder, num_hidden_layers=5)
    with pytest.raises(CheckpointError, match=r"missing: .*layer\.4\."):
        load_checkpoint(folder)


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_checkpoint(tmp_path)


def test_a_folder_without_weights(folder):
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors or pytorch_model\.bin"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
        ("[1]", "not a JSON object"),
        ("\x00\x01", "not valid JSON"),
    ],
)
def test_a_config_that_is_not_json(folder, text, words):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(folder)


def test_a_config_in_another_encoding(folder):
    (folder / "config.json").write_bytes(b'{"architectures": ["\xff\xfe"]}')
    with pytest.raises(CheckpointError, match="not valid JSON"):
        load_checkpoint(folder)


@pytest.mark.parametrize("architectures", [["RobertaForSequenceClassification"], [], None, ["AUTOBertForRanking"]])
def test_unknown_architectures(folder, architectures):
    edit_config(folder, architectures=architectures)
    with pytest.raises(CheckpointError, match="not supported") as caught:
        load_checkpoint(folder)
    assert (architectures or ["(none)"])[0] in caught.value.message
    hint = caught.value.hint  # one line that says what there is, not every name of it
    assert "TRBertFor..." in hint
    assert "AUTO..." in hint
    assert "Bert, DistilBert" in hint
    assert "ForSequenceClassification" in hint
    assert len(hint) < 250


def test_a_folder_in_the_place_of_the_config(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        load_checkpoint(folder)


def test_a_name_that_is_too_long():
    with pytest.raises(CheckpointError, match="there is no folder"):
        load_checkpoint("x" * 300)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": "four"},
        {"num_attention_heads": 5},  # 32 is no multiple of it
        {"hidden_act": "nonsense"},
        {"id2label": ["a", "b", "c"]},
        {"architectures": {"a": 1}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_config_that_describes_no_model(folder, changes):
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(folder)


def test_a_file_is_no_folder(folder):
    with pytest.raises(CheckpointError, match="is a file"):
        load_checkpoint(folder / "config.json")
