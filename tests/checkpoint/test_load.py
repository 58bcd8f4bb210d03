"""Folders of every kind, in and out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file

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


@pytest.fixture
def folder(golden, tmp_path):
    """A copy of an upstream checkpoint, to be damaged."""
    copy = tmp_path / "upstream"
    shutil.copytree(golden("bert-sequence-classification").folder, copy)
    return copy


@pytest.fixture
def own_folder(tiny_model, tmp_path):
    copy = tmp_path / "own"
    tiny_model().save_pretrained(copy)
    return copy


def edit_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


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


# -- damage --------------------------------------------------------------------------------------------------


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


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """The current folder holds `runs` alone, and who asks the Hub fails."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_args, **_kwargs: pytest.fail("the Hub was asked"))


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("./nowhere", "it cannot be"),
        ("/nowhere/at/all", "it cannot be"),
        ("a/b/c", "it cannot be"),
        ("~/nowhere", "it cannot be"),
        ("../nowhere", "it cannot be"),
        ("bundle/", "it cannot be"),
        ("org/model/", "it cannot be"),
        ("runs\\model", "it cannot be"),
        ("C:\\models", "it cannot be"),
        ("my model", "it cannot be"),
        ("bad name!!", "it cannot be"),
        ("x" * 97, "it cannot be"),
        ("runs/model", "runs is a folder here, and holds no model"),
        ("model.safetensors", "give the folder that holds config.json"),
        ("org/pytorch_model.BIN", "give the folder that holds config.json"),
        (Path("org/model"), "check the path"),
        (Path("model"), "check the path"),
    ],
)
def test_a_path_that_is_not_there_never_asks_the_hub(source, hint, no_hub):
    with pytest.raises(CheckpointError, match="there is no folder") as caught:
        load_checkpoint(source)
    assert str(source) in caught.value.message
    assert hint in caught.value.hint


def test_nothing_is_the_current_folder(no_hub):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_checkpoint("")


# -- the Hub -------------------------------------------------------------------------------------------------


def test_a_hub_id_out_of_reach(offline, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CheckpointError, match="Hugging Face Hub did not give it") as caught:
        load_checkpoint("nobody/no-such-model")
    assert "nobody/no-such-model" in caught.value.message
    assert "local folder" in caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        LocalEntryNotFoundError("offline and not cached\nmore lines"),
        ConnectionError("no route to host"),
        RepositoryNotFoundError("404 Client Error", response=type("R", (), {"headers": {}, "request": None})()),
    ],
)
def test_hub_errors_are_one_clear_line(monkeypatch, tmp_path, error):
    monkeypatch.chdir(tmp_path)

    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError, match="'org/model' is not a local folder") as caught:
        load_checkpoint("org/model")
    assert str(error).partition("\n")[0] in caught.value.message
    assert "more lines" not in str(caught.value)


@pytest.mark.parametrize("name", ["org/model", "model", "org/model-v1.5", "0rg/m_o.del"])
def test_a_hub_id_is_downloaded_and_loaded(name, own_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = []

    def give(given, *, allow_patterns):
        asked.append((given, allow_patterns))
        return str(own_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", give)
    assert load_checkpoint(name).has_selectors
    ((given, patterns),) = asked
    assert given == name
    assert not any("py" in pattern.rpartition(".")[2] for pattern in patterns)  # no code is fetched


def test_a_hub_id_of_a_bundle(golden_bundle, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    bundle = golden_bundle("bert-sequence-classification")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_args, **_kwargs: str(bundle))
    assert load_checkpoint("org/model").folder == bundle / "reference"
