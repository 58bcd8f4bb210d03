"""Bundles of schema 1.x, as they were written then: they open, and prove themselves on the runtimes of today."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from trbert_deploy.bundle import open_bundle
from trbert_deploy.bundle.schema_1 import from_schema_1
from trbert_deploy.core.errors import BundleError
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.verification import verify_bundle

FOLDER = Path(__file__).parents[1] / "fixtures" / "schema_1"
NAMES = ("sequence-classification", "question-answering", "multiple-choice")


@pytest.mark.parametrize("name", NAMES)
def test_it_proves_itself(name):
    found = verify_bundle(open_bundle(FOLDER / name), LoadOptions(verify=False))
    assert len(found) == 2  # staged and fused
    for mode, verification in found.items():
        assert verification.complaints == [], mode
        assert verification.rows > 4


def test_what_they_leave_unsaid_stands_in_the_table():
    classes, answers, choices = (open_bundle(FOLDER / name).manifest for name in NAMES)
    assert classes.task.decoding.parameters["activation"] == "softmax"
    assert classes.reduction.mode == "policy"
    assert classes.stages[1].inputs[0].axes == ("batch_before", "length", 32)
    assert answers.reduction.fractions == (0.4, 0.15)
    assert answers.reduction.full_length
    assert answers.task.output("start_logits").padding == -10000.0
    assert (choices.task.sequences_axis, choices.task.protected_from) == ("options", "question_ends")
    assert choices.costs.reduction_layers == choices.reduction.layers


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda manifest: manifest.update(task="poetry"), "unknown task 'poetry'"),
        (lambda manifest: manifest.pop("limits"), "limits"),
        (lambda manifest: manifest["stages"][0]["inputs"].append("secret"), "secret"),
        (lambda manifest: manifest["selection"].update(mode="budget"), "fractions do not fit"),
    ],
)
def test_what_does_not_follow_it(edit, what, tmp_path):
    folder = shutil.copytree(FOLDER / "sequence-classification", tmp_path / "bundle")
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    edit(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match=what):
        open_bundle(folder)


def test_a_single_label_was_never_a_choice():
    manifest = json.loads((FOLDER / "sequence-classification" / "manifest.json").read_text(encoding="utf-8"))
    manifest["model"]["labels"] = ["score"]
    assert from_schema_1(manifest)["task"]["decoding"]["parameters"]["activation"] == "identity"
    manifest.pop("dense")
    assert from_schema_1(manifest)["dense"] is None
