from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

NAME = "distilbert3-sequence-classification"


@pytest.fixture
def bundle(golden_bundle) -> Path:
    return golden_bundle(NAME)


@pytest.fixture
def damaged(bundle, tmp_path) -> Path:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    path = copy / "model.onnx"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    return copy


@pytest.mark.parametrize("runtime", ["ort", "torch"])
def test_verify_replays_golden_vectors(cli, bundle, runtime):
    result = cli("verify", bundle, "--runtime", runtime)
    assert result.exit_code == 0, result.output
    assert "passed" in result.stdout
    assert "files match their sha256" in result.stdout


def test_verify_as_json(cli, bundle):
    result = cli("verify", bundle, "--json")
    report = json.loads(result.stdout)
    assert report["passed"]
    assert set(report["results"]) == {"ort staged", "ort fused"}
    assert all(mode["rows"] > 4 and mode["complaints"] == [] for mode in report["results"].values())


def test_verify_names_the_damaged_file(cli, damaged):
    result = cli("verify", damaged)
    assert result.exit_code == 1
    assert "the sha256 of model.onnx is not the manifest's" in str(result.exception)
    as_json = cli("verify", damaged, "--json")
    assert as_json.exit_code == 1
    report = json.loads(as_json.stdout)
    assert (report["passed"], report["damage"]) == (False, ["the sha256 of model.onnx is not the manifest's"])


def test_verify_as_json_of_a_file_of_another_size(cli, bundle, tmp_path):
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    with (copy / "golden.json").open("a") as stream:
        stream.write(" ")
    result = cli("verify", copy, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert not report["passed"]
    (damage,) = report["damage"]
    assert damage.startswith("golden.json has ")


def test_verify_fails_where_answers_differ(cli, bundle, tmp_path):
    from trbert_deploy.bundle.reader import sha256_of

    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    golden = json.loads((copy / "golden.json").read_text())
    golden["batches"][1]["outputs"]["logits"][0][0] += 0.01
    (copy / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((copy / "manifest.json").read_text())
    path = copy / "golden.json"
    manifest["files"]["golden.json"] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    result = cli("verify", copy)
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "logits differs by 0.01, more than 0.0001" in result.stderr
    as_json = cli("verify", copy, "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["passed"] is False


def test_inspect_reads_the_manifest_alone(cli, bundle, monkeypatch):
    result = cli("inspect", bundle)
    assert result.exit_code == 0
    for fact in ("sequence-classification", "TRBertForSequenceClassification", "stage_0.onnx", "dense.onnx"):
        assert fact in result.stdout
    report = json.loads(cli("inspect", bundle, "--json").stdout)
    assert report["reduction"]["layers"] == [1]
    assert [one["name"] for one in report["task"]["inputs"]] == ["input_ids", "attention_mask"]
    assert report["model"]["source_class"] == "AUTODistilBertForSequenceClassification"
    assert report["model"]["num_layers"] == 3


@pytest.mark.parametrize("verb", ["inspect", "verify"])
def test_a_folder_that_is_no_bundle(cli, tmp_path, verb):
    result = cli(verb, tmp_path)
    assert result.exit_code == 1
    assert "is not a bundle" in str(result.exception)
    assert "trbert-deploy export" in str(result.exception)


def test_env_reports_versions(cli):
    report = json.loads(cli("env", "--json").stdout)
    import onnxruntime

    assert report["environment"]["onnxruntime"] == onnxruntime.__version__
    assert "CPUExecutionProvider" in cli("env").stdout
