"""Weight files that are cut short or hold more than tensors: refused, and their code never runs."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trbert_deploy.checkpoint.weights import load_weights, read_weights
from trbert_deploy.core.errors import CheckpointError


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_truncated_files(tmp_path, name, part):
    file = tmp_path / name
    weights = {"a": torch.randn(50, 50), "b": torch.arange(3)}
    (save_file if name.endswith("safetensors") else torch.save)(weights, file)
    assert read_weights(tmp_path).keys() == {"a", "b"}
    os.truncate(file, int(file.stat().st_size * part))
    with pytest.raises(CheckpointError, match="cannot be read as weights") as caught:
        read_weights(tmp_path)
    assert name in caught.value.message
    assert "truncated" in caught.value.hint


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_truncated_file_of_the_old_torch_format(tmp_path, part):
    file = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.randn(50, 50)}, file, _use_new_zipfile_serialization=False)
    assert read_weights(tmp_path).keys() == {"a"}
    os.truncate(file, int(file.stat().st_size * part))
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_weights(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_pointer_in_the_place_of_the_weights(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CheckpointError, match="Git LFS pointer") as caught:
        read_weights(tmp_path)
    assert caught.value.hint == "git lfs pull"


class _RunsCode:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("form", ["zip", "old", "plain pickle"])
def test_an_object_in_a_pickle_is_refused_and_not_run(tmp_path, form):
    file, witness = tmp_path / "pytorch_model.bin", tmp_path / "witness"
    content = {"a": torch.zeros(2), "b": _RunsCode(witness)}
    if form == "plain pickle":
        file.write_bytes(pickle.dumps({"b": _RunsCode(witness)}, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin") as caught:
        read_weights(tmp_path)
    assert not witness.exists()
    assert "more than tensors" in caught.value.message
    assert "state_dict" in caught.value.hint
    torch.load(file, weights_only=False) if form != "plain pickle" else pickle.loads(file.read_bytes())
    assert witness.exists()  # the trap was real


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(2)], torch.zeros(2), {"model": {"a": torch.zeros(2)}}, {"a": torch.zeros(2), "epoch": 3}],
)
def test_a_pickle_that_is_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="not a state_dict"):
        read_weights(tmp_path)


def test_files_of_no_known_format(tmp_path):
    for name in ("pytorch_model.bin", "model.safetensors"):
        (tmp_path / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
        with pytest.raises(CheckpointError, match=name):
            read_weights(tmp_path)
        (tmp_path / name).unlink()


def test_safetensors_comes_first(tmp_path):
    save_file({"new": torch.zeros(1)}, tmp_path / "model.safetensors")
    torch.save({"old": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert read_weights(tmp_path).keys() == {"new"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_are_widened_or_narrowed_and_integers_left(tmp_path, dtype):
    torch.save({"a": torch.tensor([0.5, -2.0], dtype=dtype), "b": torch.tensor([7])}, tmp_path / "pytorch_model.bin")
    weights = read_weights(tmp_path)
    assert weights["a"].dtype == torch.float32
    assert weights["a"].tolist() == [0.5, -2.0]
    assert weights["b"].dtype == torch.int64


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": "../secret.bin"}}'])
def test_a_broken_index(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json"):
        read_weights(tmp_path)


def test_nothing_is_filled_where_something_does_not_fit():
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    with pytest.raises(CheckpointError, match=r"here .*missing: bias"):
        load_weights(model, {"weight": torch.ones(2, 2)}, "here")
    assert model.weight.equal(before)
    load_weights(model, {"weight": torch.ones(2, 2), "bias": torch.ones(2)}, "here")
    assert model.weight.equal(torch.ones(2, 2))
