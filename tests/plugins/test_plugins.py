"""Parts of other packages go the whole way, from training to TensorRT; and none is needed to serve."""

from __future__ import annotations

import json
from pathlib import Path

import plugins
import pytest

from trbert_deploy.core.errors import TRBertError

EVALUATE = """
import sys, json
import torch
from transformers import AutoModelForSequenceClassification
from trbert_deploy.checkpoint import load_checkpoint

plain = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
ids = torch.randint(5, 20, (3, 30), generator=torch.Generator().manual_seed(0))
mask = torch.ones_like(ids)
mask[1, 12:] = 0
ours = load_checkpoint(sys.argv[1]).model(ids, mask).outputs["logits"]
print(json.dumps((plain(input_ids=ids, attention_mask=mask).logits - ours).abs().max().item()))
"""

ROFORMER = """
import sys
import torch
from transformers import RoFormerConfig, RoFormerForSequenceClassification

torch.manual_seed(0)
config = RoFormerConfig(vocab_size=21, hidden_size=32, embedding_size=24, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=48, initializer_range=0.3, num_labels=3)
RoFormerForSequenceClassification(config).save_pretrained(sys.argv[1])
"""


def report(printed: str) -> dict:
    return json.loads(printed)


def assert_verified(printed: str) -> None:
    found = report(printed)
    assert found["passed"]
    assert all(result["rows"] >= 5 for result in found["results"].values())


def build(plugged: plugins.Plugged, bundle: Path) -> list[dict]:
    printed = plugged.cli("build", bundle, "--flavor", "rtx", "--buckets", "16,48", "--max-batch", "2", "--json")
    return report(printed)["engines"]


def bench(plugged: plugins.Plugged, bundle: Path, rows: Path, *options: str) -> dict:
    quick = ["--iterations", "1", "--warmup", "0", "--batch-size", "4", "--limit", "8", "--data", str(rows)]
    return report(plugged.cli("bench", bundle, "--json", *quick, *options))


def test_a_task_and_a_reduction_go_the_whole_way(plugged, plugged_bundle, tmp_path):
    bundle = plugged_bundle("task")
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["task"]["name"] == "mean-pooled-classification"
    assert manifest["reduction"]["kind"] == "attended"
    assert manifest["reduction"]["fate"] == "attended"
    assert len(manifest["stages"]) == 2
    assert_verified(plugged.cli("verify", bundle, "--json"))
    assert_verified(plugged.cli("verify", bundle, "--runtime", "torch", "--json"))
    measured = bench(plugged, bundle, plugins.write_rows(tmp_path / "rows.jsonl"))
    assert measured["quality"]["accuracy"]["rows"] == 8
    assert measured["quality"]["agreement"]["predictions_percent"] == 100
    assert measured["quality"]["flops"]["exact_ratio"] > 1
    assert {engine["graph"] for engine in build(plugged, bundle)} == {"stage_0.onnx", "stage_1.onnx", "dense.onnx"}


def test_a_reduction_is_offered_where_users_choose_one(plugged):
    program = "from trbert_deploy.cli.options import installed_choices; print(*installed_choices()['reduction'].values)"
    assert plugged.python(program).split() == ["selector", "attended"]
    assert plugins.unplugged("-c", program).split() == ["selector"]


def test_they_are_not_needed_to_serve(plugged, plugged_bundle):
    bundle = plugged_bundle("task")
    text = " ".join(plugins.WORDS)
    printed = plugins.unplugged("-m", "trbert_deploy", "predict", bundle, text)
    assert printed == plugged.cli("predict", bundle, text)
    assert set(json.loads(printed)) == {"label", "score", "scores", "token_count", "kept"}
    assert_verified(plugins.unplugged("-m", "trbert_deploy", "verify", bundle, "--json"))
    shown = plugins.unplugged("-m", "trbert_deploy", "inspect", bundle, "--json")
    assert report(shown)["reduction"]["kind"] == "attended"


def test_triton_takes_the_task(plugged_bundle, tmp_path):
    script = plugins.ROOT / "examples" / "triton" / "make_repository.py"
    plugins.unplugged(script, plugged_bundle("task"), tmp_path / "repository")
    config = next((tmp_path / "repository").rglob("config.pbtxt")).read_text(encoding="utf-8")
    assert '"text"' in config


def test_a_backbone_answers_as_transformers(plugged, tmp_path):
    plugged.python(ROFORMER, tmp_path / "plain")
    assert json.loads(plugged.python(EVALUATE, tmp_path / "plain")) < 1e-5


def test_a_backbone_goes_the_whole_way(plugged, plugged_bundle, tmp_path):
    bundle = plugged_bundle("backbone")
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["model"]["backbone"] == "roformer"
    assert "next_positions" in [tensor["name"] for tensor in manifest["stages"][0]["outputs"]]
    assert_verified(plugged.cli("verify", bundle, "--json"))
    measured = bench(plugged, bundle, plugins.write_rows(tmp_path / "rows.jsonl"))
    assert measured["quality"]["agreement"]["predictions_percent"] == 100
    assert len(build(plugged, bundle)) == 3


def test_a_runtime_is_offered_wherever_users_choose_one(plugged, plugged_bundle, tmp_path):
    bundle = plugged_bundle("backbone")
    assert "onnx-reference" in plugged.cli("verify", "--help")
    assert_verified(plugged.cli("verify", bundle, "--runtime", "onnx-reference", "--json"))
    rows = plugins.write_rows(tmp_path / "rows.jsonl")
    measured = bench(plugged, bundle, rows, "--beside", "onnx-reference")
    (beside,) = measured["quality"]["beside"].values()
    assert beside["predictions_percent"] == 100


@pytest.mark.parametrize(
    ("missing", "hint"),
    [("task", "with ForSequenceClassification, ForMultipleChoice"), ("backbone", "is not one of bert, distilbert")],
)
def test_a_checkpoint_of_a_part_that_is_not_installed_says_so(plugged_bundle, cli, missing, hint):
    refused = cli("export", plugged_bundle(missing) / "reference", "--out", "nowhere").exception
    assert isinstance(refused, TRBertError)
    assert hint in f"{refused} {refused.hint}"
