from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import trbert_deploy
from trbert_deploy.bundle import open_bundle

GOLDEN = Path(__file__).parent.parent / "golden"
CHECKPOINT = GOLDEN / "distilbert3-sequence-classification"
pytestmark = pytest.mark.usefixtures("traced_once")


@pytest.fixture(scope="module")
def exported(cli, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "bundle"
    return out, cli("export", CHECKPOINT, "--out", out)


def test_stdout_is_the_bundle_and_stderr_a_line_a_step(exported):
    out, result = exported
    assert result.exit_code == 0
    assert result.stdout.strip() == str(out)
    lines = result.stderr.splitlines()
    assert lines[0] == "AUTODistilBertForSequenceClassification: sequence-classification"
    assert lines[1].startswith("stage 1 of 2: layer 0, ")
    assert lines[2].startswith("stage 2 of 2: layers 1 to 2, ")
    assert any(line.startswith("check: staged pipeline, largest difference ") for line in lines)
    assert lines[-1] == f"next: trbert-deploy bench {out}"


def test_an_existing_folder_is_kept_without_force(cli, exported):
    out, _ = exported
    before = (out / "manifest.json").read_bytes()
    result = cli("export", CHECKPOINT, "--out", out)
    assert result.exit_code == 1
    assert "--force" in str(result.exception)
    assert (out / "manifest.json").read_bytes() == before


def test_a_bundle_can_be_exported_again_with_another_selection(cli, exported, tmp_path):
    result = cli("export", exported[0], "--out", tmp_path / "b", "--selection", "budget", "--keep", "0.25")
    assert result.exit_code == 0, result.output
    manifest = open_bundle(tmp_path / "b").manifest
    assert (manifest.reduction.mode, manifest.reduction.fractions) == ("budget", (0.25,))
    with trbert_deploy.load(tmp_path / "b") as engine:
        out = engine.run(input_ids=[[2, *range(5, 15), 3]], return_selection=True)
    assert len(out.selection[0][0]) == 3


def test_upstream_checkpoints_convert_without_a_bundle(cli, tmp_path, golden):
    from trbert_deploy.checkpoint import load_checkpoint

    result = cli("export", CHECKPOINT, "--save-checkpoint", tmp_path / "ours")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "ours")
    checkpoint = load_checkpoint(tmp_path / "ours")
    assert checkpoint.source_class == "TRBertForSequenceClassification"
    weights, config = tmp_path / "ours" / "model.safetensors", tmp_path / "ours" / "config.json"
    assert weights.stat().st_mode == config.stat().st_mode  # a service's own user can read both
    import torch

    for row in golden(CHECKPOINT.name).rows:
        with torch.inference_mode():
            output = checkpoint.model(**{name: torch.from_numpy(array) for name, array in row.inputs.items()})
        np.testing.assert_allclose(output.outputs["logits"], row.outputs["logits"], atol=1e-4)


def test_a_plain_checkpoint_exports_dense_and_says_so(cli, tmp_path):
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=120, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, num_labels=3
    )
    plain = BertForSequenceClassification(config).eval()
    plain.save_pretrained(tmp_path / "plain")
    result = cli("export", tmp_path / "plain", "--out", tmp_path / "bundle")
    assert result.exit_code == 0, result.output
    assert "no selectors" in result.stderr
    assert "train" in result.stderr
    ids = torch.randint(0, 120, (3, 40))
    with trbert_deploy.load(tmp_path / "bundle") as engine, torch.inference_mode():
        np.testing.assert_allclose(engine.run(input_ids=ids.numpy())["logits"], plain(ids).logits, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --out DIR"),
        (["--out", "b", "--keep", "a,b"], "not a list of numbers"),
        (["--out", "b", "--selection", "budget"], "needs --keep"),
        (["--out", "b", "--selection", "policy", "--keep", "0.4"], "goes with --selection budget"),
        (["--out", "b", "--selection", "greedy"], "'greedy' is not one of 'policy', 'budget'"),
    ],
)
def test_usage_errors_exit_with_2(cli, arguments, message):
    result = cli("export", CHECKPOINT, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_a_folder_that_is_no_model(cli, tmp_path):
    result = cli("export", tmp_path, "--out", tmp_path / "bundle")
    assert result.exit_code == 1
    assert "is no model: it has no config.json" in str(result.exception)
    assert not (tmp_path / "bundle").exists()


def test_a_hub_id_that_cannot_be_had(cli, tmp_path, offline):
    result = cli("export", "nobody/no-such-model", "--out", tmp_path / "bundle")
    assert result.exit_code == 1
    assert "not a local folder, and the Hugging Face Hub did not give it" in str(result.exception)


@pytest.mark.parametrize(
    ("task", "num_labels", "problem", "hinted"),
    [
        ("sequence-classification", 3, None, True),
        ("sequence-classification", 2, "single_label_classification", True),
        ("sequence-classification", 1, None, False),  # a reranker
        ("sequence-classification", 3, "regression", False),
        ("sequence-classification", 3, "multi_label_classification", False),
        ("question-answering", 2, None, False),
        ("token-classification", 5, None, False),
    ],
)
def test_training_is_recommended_where_it_will_work(
    cli, tmp_path, tiny_model, monkeypatch, task, num_labels, problem, hinted
):
    from trbert_deploy.checkpoint import save_checkpoint

    monkeypatch.setattr("trbert_deploy.export.exporter.export_bundle", lambda *given, **options: None)
    model = tiny_model(task, layers=2, reduction_layers=[], num_labels=num_labels)
    model.config.problem_type = problem
    save_checkpoint(model, tmp_path / "plain")
    result = cli("export", tmp_path / "plain", "--out", tmp_path / "bundle")
    assert result.exit_code == 0, result.output
    assert "note: this checkpoint has no selectors" in result.stderr
    assert (f"trbert-deploy train {tmp_path / 'plain'} --data FILE" in result.stderr) is hinted


def test_a_terminated_export_leaves_nothing(tmp_path):
    import signal
    import subprocess
    import sys

    command = str(Path(sys.executable).with_name("trbert-deploy"))
    process = subprocess.Popen(
        [command, "export", str(CHECKPOINT), "--out", str(tmp_path / "bundle")], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while not process.stderr.readline().startswith("stage 1"):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert list(tmp_path.iterdir()) == []
