"""The Hub: which names are asked for there, and what becomes of the answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import CheckpointError


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
