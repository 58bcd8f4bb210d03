"""The manifest's schema, and bundles that are opened, refused and checked by it."""

from __future__ import annotations

import copy
import hashlib
import json
import os

import jsonschema
import pytest
from pydantic import ValidationError

from trbert_deploy.bundle import SCHEMA_VERSION, Manifest, open_bundle
from trbert_deploy.bundle.manifest import schema
from trbert_deploy.core.errors import BundleError
from trbert_deploy.core.request import Limits

FILES = {"stage_0.onnx": b"first", "stage_1.onnx": b"second", "model.onnx": b"fused", "golden.json": b"{}"}


def facts():
    return {
        "schema_version": SCHEMA_VERSION,
        "task": "sequence-classification",
        "model": {
            "source": "model",
            "source_class": "AUTOBertForSequenceClassification",
            "model_class": "TRBertForSequenceClassification",
            "backbone": "bert",
            "num_layers": 12,
            "hidden_size": 768,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "selector_size": 32,
            "parameters": 110_000_000,
            "labels": ["negative", "positive"],
        },
        "reduction_layers": [6],
        "selection": {"mode": "budget", "keep": [0.4]},
        "precision": "fp32",
        "quantization": None,
        "opset": 20,
        "outputs": ["logits"],
        "limits": {"max_length": 512, "vocab_size": 30522, "token_types": 2},
        "stages": [
            {"file": "stage_0.onnx", "inputs": ["input_ids"], "outputs": ["next_hidden_states"]},
            {"file": "stage_1.onnx", "inputs": ["hidden_states"], "outputs": ["logits"]},
        ],
        "fused": {"file": "model.onnx", "inputs": ["input_ids"], "outputs": ["logits"]},
        "dense": None,
        "tokenizer": None,
        "golden": "golden.json",
        "reference": None,
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in FILES.items()
        },
        "created": "2025-01-01T00:00:00+00:00",
        "environment": {"python": "3.11.2"},
    }


def changed(path, value):
    """The facts with one value replaced, or left out where the value is ..."""
    raw = facts()
    place = raw
    *parents, last = path.split(".")
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return raw


INVALID = [
    ("task", ...),
    ("model.backbone", "roberta"),
    ("model.num_layers", 0),
    ("model.labels", "positive"),
    ("reduction_layers", ["1"] * 2 + [None]),
    ("selection.mode", "random"),
    ("selection.keep", [0.4, "x"]),
    ("precision", "fp7"),
    ("limits.max_length", 0),
    ("limits.token_types", -1),
    ("stages", []),
    ("stages.0.inputs", ...),
    ("fused", None),
    ("files", ["stage_0.onnx"]),
    ("environment", None),
    ("schema_version", "1"),
    ("schema_version", 1.0),
]


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    write(tmp_path, facts())
    return tmp_path


def write(folder, raw):
    (folder / "manifest.json").write_text(json.dumps(raw))


def test_the_schema_is_a_json_schema_that_takes_what_the_reader_takes():
    published = json.loads(json.dumps(schema()))
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(facts(), published)
    assert published["$schema"].endswith("2020-12/schema")
    read = Manifest.model_validate(facts())
    jsonschema.validate(read.model_dump(mode="json"), published)
    assert read.model_dump(mode="json") == facts()


@pytest.mark.parametrize(("path", "value"), INVALID)
def test_schema_and_reader_refuse_alike(path, value):
    raw = changed(path, value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, schema())
    with pytest.raises(ValidationError):
        Manifest.model_validate(raw)


QUANTIZATION = {
    "form": "cpu",
    "calibration": "rows.jsonl",
    "calibration_rows": 64,
    "fp32_layers": [3],
    "sensitivity": "sensitivity.json",
}


def test_int8_says_how_and_nothing_else_does():
    raw = facts() | {"precision": "int8", "quantization": QUANTIZATION}
    jsonschema.validate(raw, schema())
    assert Manifest.model_validate(raw).quantization.fp32_layers == [3]
    for wrong in ({"precision": "int8"}, {"quantization": QUANTIZATION}):
        with pytest.raises(ValidationError, match="quantization is said of int8 bundles"):
            Manifest.model_validate(facts() | wrong)


def test_a_sensitivity_report_that_is_not_there(folder):
    write(folder, facts() | {"precision": "int8", "quantization": QUANTIZATION})
    with pytest.raises(BundleError, match=r"refers to sensitivity\.json, which is not among its files"):
        open_bundle(folder)


def test_a_field_of_a_later_minor_version_is_ignored(folder):
    raw = facts() | {"schema_version": "1.99", "new": 1}
    raw["model"]["new"] = 2
    jsonschema.validate(raw, schema())
    write(folder, raw)
    assert open_bundle(folder).manifest.schema_version == "1.99"


def test_facts_in_the_forms_that_the_library_uses():
    manifest = Manifest.model_validate(facts())
    assert manifest.task_facts.name == "sequence-classification"
    assert manifest.limit_facts == Limits(512, 30522, 2)


# -- opening -------------------------------------------------------------------------------------------------


def test_a_whole_bundle_opens_and_is_intact(folder):
    bundle = open_bundle(folder)
    bundle.require_intact()
    assert list(bundle.damaged_files()) == []
    assert bundle.path("stage_0.onnx").read_bytes() == b"first"
    assert open_bundle(str(folder)).manifest == bundle.manifest


def test_a_wrong_sha256(folder):
    (folder / "model.onnx").write_bytes(b"FUSED")  # of the same size
    bundle = open_bundle(folder)
    assert list(bundle.damaged_files()) == ["the sha256 of model.onnx is not the manifest's"]
    assert list(bundle.damaged_files(["stage_0.onnx"])) == []
    with pytest.raises(BundleError, match=r"damaged: the sha256 of model\.onnx") as caught:
        bundle.require_intact()
    assert "trbert-deploy export" in caught.value.hint


def test_a_file_that_vanished_after_opening(folder):
    bundle = open_bundle(folder)
    (folder / "stage_0.onnx").unlink()
    (folder / "model.onnx").write_bytes(b"fused and more")
    with pytest.raises(BundleError) as caught:
        bundle.require_intact()
    assert "stage_0.onnx is missing" in caught.value.message
    assert "model.onnx has 14 bytes, the manifest says 5" in caught.value.message


def test_a_truncated_file(folder):
    os.truncate(folder / "model.onnx", 3)
    with pytest.raises(BundleError, match=r"incomplete: model\.onnx has 3 bytes, the manifest says 5"):
        open_bundle(folder)


def test_a_missing_file(folder):
    (folder / "stage_0.onnx").unlink()
    with pytest.raises(BundleError, match=r"incomplete: stage_0\.onnx is missing"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("version", "words", "hint"),
    [
        ("2.0", "schema version 2.0, this release reads 1.x", "upgrade trbert-deploy"),
        ("10.3", "schema version 10.3", "upgrade trbert-deploy"),
        ("0.9", "schema version 0.9", "trbert-deploy export"),
        ("one", "no schema_version", "export"),
        ("", "no schema_version", "export"),
        (None, "no schema_version", "export"),
        (1, "no schema_version", "export"),
        (..., "no schema_version", "export"),
    ],
)
def test_other_versions(folder, version, words, hint):
    write(folder, changed("schema_version", version))
    with pytest.raises(BundleError, match=words) as caught:
        open_bundle(folder)
    assert hint in caught.value.hint


def test_an_unknown_major_is_refused_before_its_contents_are_read(folder):
    write(folder, {"schema_version": "7.0", "everything": "is different"})
    with pytest.raises(BundleError, match=r"schema version 7\.0"):
        open_bundle(folder)


@pytest.mark.parametrize(("path", "value"), [pair for pair in INVALID if pair[0] != "schema_version"])
def test_what_breaks_the_schema_is_named(folder, path, value):
    write(folder, changed(path, value))
    with pytest.raises(BundleError, match="does not follow the schema") as caught:
        open_bundle(folder)
    assert path.partition(".")[0] in caught.value.message


def test_a_version_without_a_minor_is_refused(folder):
    write(folder, changed("schema_version", "1"))
    with pytest.raises(BundleError, match="does not follow the schema: schema_version"):
        open_bundle(folder)


@pytest.mark.parametrize("digits", ["xyz", "A" * 64, "a" * 63, "g" * 64])
def test_a_sha256_that_is_none(folder, digits):
    raw = facts()
    raw["files"]["model.onnx"]["sha256"] = digits
    write(folder, raw)
    with pytest.raises(BundleError, match=r"files\.model\.onnx\.sha256"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["/etc/hostname", "../outside", "a/../../outside"])
def test_a_file_outside_the_bundle(folder, name):
    raw = facts()
    raw["files"][name] = copy.copy(raw["files"]["model.onnx"])
    write(folder, raw)
    with pytest.raises(BundleError, match="outside the bundle"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["../outside.onnx", "/outside.onnx", "not_listed.onnx"])
def test_a_graph_outside_the_bundle_or_its_files(folder, name):
    write(folder, changed("fused.file", name))
    with pytest.raises(BundleError):
        open_bundle(folder)


def test_a_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"not a bundle: it has no manifest\.json") as caught:
        open_bundle(tmp_path)
    assert "trbert-deploy export" in caught.value.hint
    with pytest.raises(BundleError, match="not a bundle: it does not exist"):
        open_bundle(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="not a bundle"):
        open_bundle(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2", b"\xff\xfe\x00", b"null", b"[]", b'"1.0"'])
def test_a_manifest_that_is_no_manifest(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(folder)
