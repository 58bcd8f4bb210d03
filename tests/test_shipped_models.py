"""The model that ships with the project, where it is looked for, and `bench` without a bundle."""

import json
import shutil
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import trbert_deploy
from trbert_deploy import shipped_models
from trbert_deploy.bundle import open_bundle
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.checkpoint import load_checkpoint, load_tokenizer
from trbert_deploy.core.errors import CheckpointError, TRBertError
from trbert_deploy.export import shipped as cache
from trbert_deploy.shipped_models import DEFAULT_MODEL, SHIPPED_MODELS, shipped_folder
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.data import read_examples
from trbert_deploy.training.evaluation import evaluate

pytestmark = pytest.mark.usefixtures("traced_once")

REVIEWS = 60
MODELS = Path(__file__).parents[1] / "models" / "trbert_deploy_models"
FOLDER = MODELS / DEFAULT_MODEL


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def reviews(checkpoint):
    examples = read_examples(evaluation_file(), checkpoint.model.config.label_names)
    return TokenizedExamples(examples.take(np.arange(REVIEWS)), load_tokenizer(checkpoint.folder), 512)


@pytest.fixture(scope="module")
def evaluation(checkpoint, reviews):
    return evaluate(checkpoint.model, reviews)


# -- the model ------------------------------------------------------------------------------------------------------


def test_it_is_small_and_whole():
    files = {file.name for file in FOLDER.iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 47e6
    with safe_open(FOLDER / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118


def test_it_loads_as_float32_and_reduces_by_policy(checkpoint):
    assert checkpoint.has_selectors
    assert checkpoint.folder == FOLDER
    assert {str(parameter.dtype) for parameter in checkpoint.model.parameters()} == {"torch.float32"}
    assert checkpoint.model.config.label_names == ["negative", "positive"]
    assert checkpoint.model.config.selection.mode == "policy"


def test_transformers_loads_it_as_float32_too(checkpoint):
    model = type(checkpoint.model).from_pretrained(str(FOLDER))
    for name, wanted in checkpoint.model.state_dict().items():
        assert (model.state_dict()[name] == wanted).all()
        assert model.state_dict()[name].dtype == wanted.dtype


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch, golden):
    shutil.copytree(golden("bert-sequence-classification").folder, tmp_path / DEFAULT_MODEL)
    monkeypatch.chdir(tmp_path)
    assert load_checkpoint(DEFAULT_MODEL).source_class == "AUTOBertForSequenceClassification"


def test_it_is_accurate_and_saves_more_than_half(evaluation):
    assert evaluation.accuracy >= 90
    assert evaluation.flops_ratio >= 2


def test_its_selectors_beat_chance_at_the_same_budget(checkpoint, reviews, evaluation):
    keep = evaluation.kept_fractions
    learned = evaluate(checkpoint.model, reviews, keep=keep).accuracy
    rng = np.random.default_rng(0)
    for selector in checkpoint.model.selectors:
        selector.register_forward_hook(lambda module, inputs, scores: scores.new_tensor(rng.normal(size=scores.shape)))
    try:
        assert learned > evaluate(checkpoint.model, reviews, keep=keep).accuracy + 2
    finally:
        for selector in checkpoint.model.selectors:
            selector._forward_hooks.clear()


def test_words_of_judgement_survive(shipped_bundle):
    text = (
        "I watched this on a Tuesday with my brother, who had brought some crisps and a bottle of water. It is set in "
        "a town by the sea in 1974 and it was directed by the same man as the other one. The acting is dreadful."
    )
    with trbert_deploy.load(shipped_bundle) as engine:
        (row,) = engine.tokenizer.encode([{"text": text}])
        ids = row.arrays["input_ids"].tolist()
        out = engine.run(input_ids=[ids], return_selection=True)
        assert engine.predict([text])[0]["label"] == "negative"
    place = ids.index(load_tokenizer(FOLDER).convert_tokens_to_ids("dreadful"))
    for kept in out.selection:
        assert place in kept[0]
    assert len(out.selection[1][0]) < len(ids) / 2


def test_onnx_runtime_answers_as_the_reference(shipped_bundle, reviews, evaluation):
    with trbert_deploy.load(shipped_bundle) as engine:
        for start in range(0, 32, 8):
            rows = np.arange(start, start + 8)
            inputs = {name: tensor.numpy() for name, tensor in reviews.batch(rows).inputs.items()}
            out = engine.run(**inputs, return_selection=True)
            np.testing.assert_allclose(out["logits"], evaluation.outputs["logits"][rows], atol=1e-4, rtol=0)
            for reduction, kept in enumerate(out.selection):
                assert [len(positions) for positions in kept] == evaluation.kept[rows, reduction].tolist()


def test_the_model_card_says_what_was_measured():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for heading in ("Data", "Training", "Measured", "Limits", "Licence"):
        assert f"## {heading}" in card


# -- where it is looked for -------------------------------------------------------------------------------------------


@pytest.fixture
def not_installed(tmp_path, monkeypatch):
    """As where the package is installed, and the models are not; in an empty folder, with an empty cache."""
    monkeypatch.setattr(shipped_models, "_IN_CLONE", tmp_path / "models")
    monkeypatch.setitem(sys.modules, "trbert_deploy_models", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_the_names_are_those_of_the_clone():
    assert {file.parent.name for file in MODELS.glob("*/config.json")} == set(SHIPPED_MODELS)
    for name in SHIPPED_MODELS:
        assert shipped_folder(name) == MODELS / name


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_a_model_that_is_not_there_names_the_command(not_installed, name):
    with pytest.raises(CheckpointError, match=f"{name} is not installed.* trbert-deploy-models") as caught:
        load_checkpoint(name)
    assert caught.value.hint == "pip install 'trbert-deploy[models]' (from a clone: pip install ./models)"


def test_nor_is_it_in_a_distribution_that_is_too_old(not_installed, monkeypatch):
    monkeypatch.setitem(sys.modules, "trbert_deploy_models", types.SimpleNamespace(FOLDERS={}))
    with pytest.raises(CheckpointError, match="is not installed"):
        shipped_folder(DEFAULT_MODEL)


@pytest.mark.parametrize("command", [("export", DEFAULT_MODEL, "--out", "bundle"), ("bench",)])
def test_a_verb_that_needs_it_names_the_command(not_installed, cli, tmp_path, command):
    result = cli(*command)
    assert result.exit_code == 1
    assert isinstance(result.exception, CheckpointError)
    assert "pip install 'trbert-deploy[models]'" in result.exception.hint
    assert list(tmp_path.iterdir()) == []


# -- bench without a bundle -------------------------------------------------------------------------------------------


@pytest.fixture
def small(golden, tmp_path, monkeypatch):
    """A small checkpoint in the shipped one's place, and an empty cache."""
    folder = tmp_path / "small"
    shutil.copytree(golden("distilbert3-sequence-classification").folder, folder)
    monkeypatch.setattr(cache, "shipped_folder", {DEFAULT_MODEL: folder}.__getitem__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Where `filled` keeps its cache, so that it is filled once."""
    return tmp_path_factory.mktemp("exported") / "cache"


@pytest.fixture
def filled(small, exported, tmp_path):
    """The bundle of the small checkpoint, in the cache."""
    if exported.exists():
        shutil.copytree(exported, tmp_path / "cache")
        return cache.shipped_bundle()
    bundle = cache.shipped_bundle()
    shutil.copytree(tmp_path / "cache", exported)
    return bundle


def export_lines(lines):
    return [line for line in lines if line.startswith("exporting ")]


def test_of_two_first_uses_one_exports(small, tmp_path):
    lines = []
    threads = [threading.Thread(target=cache.shipped_bundle, args=(lines.append,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(export_lines(lines)) == 1
    bundle = cache.shipped_bundle()
    assert bundle.folder.is_relative_to(tmp_path / "cache" / "trbert-deploy")
    assert bundle.manifest.dense is not None
    assert bundle.manifest.model.source == "small"


def test_it_is_not_exported_again(filled):
    lines = []
    assert cache.shipped_bundle(lines.append).folder == filled.folder
    assert lines == []


def test_other_weights_are_another_bundle(small, filled):
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b", "2": "c"}}))
    assert cache.shipped_bundle().folder != filled.folder


@pytest.mark.parametrize("damage", ["changed", "no manifest"])
def test_a_damaged_bundle_is_made_again(filled, damage):
    graph = filled.folder / "stage_0.onnx"
    if damage == "changed":
        content = bytearray(graph.read_bytes())
        content[len(content) // 2] ^= 1
        graph.write_bytes(content)
    else:
        (filled.folder / "manifest.json").unlink()
    lines = []
    cache.shipped_bundle(lines.append)
    assert len(export_lines(lines)) == 1
    open_bundle(filled.folder).require_intact()


def test_bench_without_a_bundle(filled, cli):
    result = cli("bench", "--iterations", 2, "--warmup", 0, "--batch-size", 1, "--length", 12, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert {"ort staged", "ort dense", "torch"} <= report["backends"].keys()
    assert str(filled.folder) in result.stderr


def test_a_lock_that_cannot_be_written_is_an_error(filled):
    lock = filled.folder.with_name(f".{filled.folder.name}.lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    with pytest.raises(TRBertError, match="cache cannot be written"):
        cache.shipped_bundle()


def test_a_cache_that_cannot_be_written_is_an_error(small, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(TRBertError, match="cache cannot be written") as raised:
        cache.shipped_bundle()
    assert "XDG_CACHE_HOME" in raised.value.hint
