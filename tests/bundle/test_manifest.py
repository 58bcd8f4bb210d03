"""The manifest's schema, and bundles that are opened, refused and checked by it; of both versions."""

from __future__ import annotations

import copy
import json
import os
import shutil

import jsonschema
import pytest
from manifests import FILES, changed, schema_1, schema_2, write
from pydantic import ValidationError

from trbert_deploy.bundle import SCHEMA_VERSION, Manifest, open_bundle
from trbert_deploy.bundle.manifest import schema
from trbert_deploy.bundle.reader import MOST_BYTES
from trbert_deploy.core.errors import BundleError
from trbert_deploy.tasks import TASKS

INVALID = [
    ("task", ...),
    ("task.inputs", []),
    ("task.inputs.0.axes", "batch"),
    ("task.outputs.0.padding", None),
    ("task.max_length", "512"),
    ("task.max_length", 512.5),
    ("task.text.truncation", "shortest_first"),
    ("task.decoding.kind", ...),
    ("model.num_layers", 0),
    ("model.num_layers", True),
    ("model.num_layers", 2**40),
    ("model.labels", "positive"),
    ("reduction.layers", ["1"]),
    ("reduction.mode", "random"),
    ("reduction.fractions", [0.4, "x"]),
    ("precision", "fp7"),
    ("stages", []),
    ("stages.0.inputs", ...),
    ("stages.0.inputs.0.name", 1),
    ("fused", None),
    ("files", ["stage_0.onnx"]),
    ("environment", None),
    ("schema_version", "2"),
    ("schema_version", 2.0),
]

INVALID_1 = [
    ("task", ...),
    ("task", "no-such-task"),
    ("task", ["sequence-classification"]),
    ("model", 3),
    ("model.num_layers", 0),
    ("model.num_layers", 2**40),
    ("model.labels", "positive"),
    ("model.hidden_size", "768"),
    ("reduction_layers", ["1"]),
    ("reduction_layers", None),
    ("selection", ...),
    ("selection.mode", "random"),
    ("selection.keep", [0.4, "x"]),
    ("precision", "fp7"),
    ("limits.max_length", 0),
    ("limits.token_types", "two"),
    ("limits.vocab_size", ...),
    ("stages", []),
    ("stages", 7),
    ("stages.0", None),
    ("stages.0.inputs", ...),
    ("stages.0.outputs", ["next_nonsense", "keep_count"]),
    ("fused", None),
    ("dense", []),
    ("files", ["stage_0.onnx"]),
]

CONTRADICTIONS = [
    ("stages.0.outputs.2.name", "count", "stage_0.onnx gives no keep_count"),
    ("stages.0.outputs.1.name", "keep_mask", "stage_0.onnx gives no next_keep_mask"),
    ("stages.0.outputs.1.name", "keep_count", "two tensors of one name"),
    ("stages.1.inputs.0.name", "states", "stage_1.onnx takes states, which nothing gives it"),
    ("stages.1.inputs.0.name", "budget", "stage_1.onnx takes budget, which nothing gives it"),
    ("stages.1.outputs.0.name", "answers", "stage_1.onnx gives no logits"),
    ("stages.1.outputs.0.dtype", "float32; drop", "unknown type"),
    ("fused.outputs.1.name", "mask", "model.onnx gives no keep_mask_1"),
    ("stages", lambda m: m["stages"] * 2, "4 stages do not fit 1 reductions"),
    ("dense", lambda m: m["fused"], r"model.onnx gives logits, keep_mask_1, the task has logits alone"),
    ("reduction.fractions", [-3.0], "reduction: fractions must lie in"),
    ("reduction.fractions", [0.0], "reduction: fractions must lie in"),
    ("reduction.fractions", [1e-9], "reduction: fractions must lie in"),
    ("reduction.fractions", [1.5], "reduction: fractions must lie in"),
    ("reduction.fractions", [0.4, 0.2], "2 fractions do not fit"),
    ("reduction.mode", "policy", "1 fractions do not fit"),
    ("reduction.layers", [12], "reduction: layers must ascend and be the model's"),
    ("reduction.layers", [5], "costs: reduction_layers"),
    ("precision", "int8", "quantization is said of int8 bundles"),
    ("task.max_length", 0, "max_length must lie in 1 to"),
]


@pytest.fixture(params=[schema_1, schema_2], ids=["1.1", "2.0"])
def facts(request):
    return request.param()


@pytest.fixture
def folder(tmp_path, facts):
    return write(tmp_path, facts)


def _undescribed(name, part):
    """Fields of a schema's part that nothing is said of, but those that are parts themselves."""
    return [f"{name}.{field}" for field, facts in part.get("properties", {}).items() if "description" not in facts]


def test_every_field_of_the_schema_is_described():
    whole = schema()
    parts = {"Manifest": whole, **whole["$defs"]}
    lacking = {field for name, part in parts.items() for field in _undescribed(name, part)}
    assert lacking == set()


def test_the_schema_is_a_json_schema_that_takes_what_the_reader_takes():
    published, facts = json.loads(json.dumps(schema())), schema_2()
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(facts, published)
    assert published["$schema"].endswith("2020-12/schema")
    read = Manifest.model_validate_json(json.dumps(facts), strict=True)
    jsonschema.validate(read.model_dump(mode="json"), published)
    assert read.model_dump(mode="json") == facts


@pytest.mark.parametrize(("path", "value"), INVALID)
def test_schema_and_reader_refuse_alike_and_name_the_field(path, value, tmp_path):
    raw = changed(schema_2(), path, value)
    whole = path == "task.inputs"  # JSON Schema cannot say that two inputs are always there
    if not whole:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(raw, schema())
    with pytest.raises(
        BundleError, match=r"manifest\.json (does not follow the schema|has no schema_version)"
    ) as caught:
        open_bundle(write(tmp_path, raw))
    assert path.rpartition(".")[2] in caught.value.message or path.rpartition(".")[2].isdigit() or whole
    assert "trbert-deploy export" in caught.value.hint


@pytest.mark.parametrize(("path", "value"), INVALID_1)
def test_what_breaks_the_first_schema(path, value, tmp_path):
    with pytest.raises(BundleError, match=r"manifest\.json does not follow the schema: ."):
        open_bundle(write(tmp_path, changed(schema_1(), path, value)))


@pytest.mark.parametrize(("path", "value", "what"), CONTRADICTIONS)
def test_what_contradicts_itself(path, value, what, tmp_path):
    facts = schema_2()
    raw = changed(facts, path, value(facts) if callable(value) else value)
    with pytest.raises(BundleError, match=what):
        open_bundle(write(tmp_path, raw))


@pytest.mark.parametrize("keep", [[-3], [0], [1e300], [0.4, 0.4], []])
def test_budgets_of_the_first_schema(keep, tmp_path):
    with pytest.raises(BundleError, match=r"fractions"):
        open_bundle(write(tmp_path, changed(schema_1(), "selection.keep", keep)))


def test_stages_without_keep_count(tmp_path):
    raw = changed(schema_1(), "stages.0.outputs", ["next_hidden_states", "next_keep_mask"])
    with pytest.raises(BundleError, match=r"stage_0\.onnx gives no keep_count"):
        open_bundle(write(tmp_path, raw))


@pytest.mark.parametrize("task", [name for name in TASKS.names() if "mean" not in name])
def test_every_task_of_both_versions(task, tmp_path):
    first = open_bundle(write(tmp_path, schema_1(task))).manifest
    second = open_bundle(write(tmp_path, schema_2(task))).manifest
    assert first.task == second.task
    assert first.stages == second.stages


QUANTIZATION = {
    "form": "cpu",
    "calibration": "rows.jsonl",
    "calibration_rows": 64,
    "fp32_layers": [3],
    "sensitivity": "sensitivity.json",
}


def test_int8_says_how_and_nothing_else_does():
    raw = schema_2() | {"precision": "int8", "quantization": QUANTIZATION}
    jsonschema.validate(raw, schema())
    assert Manifest.model_validate(raw).quantization.fp32_layers == [3]
    for wrong in ({"precision": "int8"}, {"quantization": QUANTIZATION}):
        with pytest.raises(ValidationError, match="quantization is said of int8 bundles"):
            Manifest.model_validate(schema_2() | wrong)


def test_a_sensitivity_report_that_is_not_there(tmp_path):
    write(tmp_path, schema_2() | {"precision": "int8", "quantization": QUANTIZATION})
    with pytest.raises(BundleError, match=r"refers to sensitivity\.json, which is not among its files"):
        open_bundle(tmp_path)


def test_a_field_of_a_later_minor_version_is_ignored(tmp_path):
    raw = schema_2() | {"schema_version": "2.99", "new": 1}
    raw["model"]["new"] = raw["task"]["inputs"][0]["new"] = 2
    jsonschema.validate(raw, schema())
    assert open_bundle(write(tmp_path, raw)).manifest.schema_version == "2.99"


# -- JSON that is none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2", b"\xff\xfe\x00", b"null", b"[]", b'"1.0"'])
def test_a_manifest_that_is_no_manifest(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_json_does_not_have(tmp_path, facts, number):
    text = json.dumps(facts).replace("0.4", number)
    write(tmp_path, facts)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json is not valid JSON: "):
        open_bundle(tmp_path)


@pytest.mark.parametrize("field", ["environment", "task", "files", "nonsense"])
def test_nested_ten_thousand_deep(tmp_path, facts, field):
    write(tmp_path, facts)
    text = json.dumps(facts | {field: "HERE"}).replace('"HERE"', "[" * 10_000 + "]" * 10_000)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match="nested more than 64 deep"):
        open_bundle(tmp_path)


def test_one_key_twice(tmp_path, facts):
    write(tmp_path, facts)
    (tmp_path / "manifest.json").write_text('{"precision": "fp16", ' + json.dumps(facts)[1:])
    with pytest.raises(BundleError, match="the key 'precision' is there twice"):
        open_bundle(tmp_path)


def test_a_hundred_megabytes_are_refused_unread(folder, monkeypatch):
    monkeypatch.setattr("trbert_deploy.core.strict_json.loads", lambda text: pytest.fail("it was parsed"))
    os.truncate(folder / "manifest.json", 100 * 2**20)
    with pytest.raises(BundleError, match=f"it has 104857600 bytes, more than the {MOST_BYTES} that are read"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("version", "words", "hint"),
    [
        ("3.0", "schema version 3.0, this release reads 1.x to 2.x", "upgrade trbert-deploy"),
        ("10.3", "schema version 10.3", "upgrade trbert-deploy"),
        ("0.9", "schema version 0.9", "trbert-deploy export"),
        ("one", "no schema_version", "export"),
        ("²", "no schema_version", "export"),
        ("².0", "no schema_version", "export"),
        ("2.٣", "no schema_version", "export"),
        ("2.0\n", "no schema_version", "export"),
        ("9" * 5000, "no schema_version", "export"),
        ("2", "no schema_version", "export"),
        ("", "no schema_version", "export"),
        (None, "no schema_version", "export"),
        (1, "no schema_version", "export"),
        (..., "no schema_version", "export"),
    ],
)
def test_other_versions(tmp_path, facts, version, words, hint):
    write(tmp_path, changed(facts, "schema_version", version))
    with pytest.raises(BundleError, match=words) as caught:
        open_bundle(tmp_path)
    assert hint in caught.value.hint
    assert len(caught.value.message) < 500


def test_an_unknown_major_is_refused_before_its_contents_are_read(tmp_path):
    write(tmp_path, {"schema_version": "7.0", "everything": "is different"})
    with pytest.raises(BundleError, match=r"schema version 7\.0"):
        open_bundle(tmp_path)


# -- files --------------------------------------------------------------------------------------------------------


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


def test_what_was_found_whole_is_hashed_again_only_where_it_has_changed(folder, monkeypatch):
    from trbert_deploy.bundle import reader

    hashed = []
    sha256_of = reader.sha256_of
    monkeypatch.setattr(reader, "sha256_of", lambda path: hashed.append(path.name) or sha256_of(path))
    bundle = open_bundle(folder)
    assert hashed == []
    bundle.require_intact(["model.onnx"])
    bundle.require_intact(["model.onnx", "golden.json"])
    assert hashed == ["model.onnx", "golden.json"]
    (folder / "model.onnx").write_bytes(b"FUSED")
    assert list(bundle.damaged_files(["model.onnx"])) == ["the sha256 of model.onnx is not the manifest's"]
    shutil.copy(folder / "stage_0.onnx", folder / "other")
    assert list(open_bundle(folder).damaged_files(["model.onnx"])) != []  # another bundle knows nothing of it


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


def test_a_folder_in_the_place_of_a_file(folder):
    (folder / "stage_0.onnx").unlink()
    (folder / "stage_0.onnx").mkdir()
    with pytest.raises(BundleError, match=r"stage_0\.onnx is not a file"):
        open_bundle(folder)


@pytest.mark.parametrize("digits", ["xyz", "A" * 64, "a" * 63, "g" * 64])
def test_a_sha256_that_is_none(tmp_path, facts, digits):
    raw = copy.deepcopy(facts)
    raw["files"]["model.onnx"]["sha256"] = digits
    with pytest.raises(BundleError, match=r"files\.model\.onnx\.sha256"):
        open_bundle(write(tmp_path, raw))


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../outside", "a/../../outside", "..\\outside", "C:\\outside", "a\0b"]
)
def test_a_file_outside_the_bundle(tmp_path, facts, name):
    raw = copy.deepcopy(facts)
    raw["files"][name] = copy.copy(raw["files"]["model.onnx"])
    with pytest.raises(BundleError, match="outside the bundle"):
        open_bundle(write(tmp_path, raw))


@pytest.mark.parametrize("name", ["x" * 5000, "é" * 5000, "/".join("x" * 3000), ""])
def test_a_name_that_no_file_has(tmp_path, facts, name):
    raw = copy.deepcopy(facts)
    raw["files"][name] = copy.copy(raw["files"]["model.onnx"])
    with pytest.raises(BundleError, match="incomplete: ") as caught:
        open_bundle(write(tmp_path, raw))
    assert len(caught.value.message) < 500


def test_half_of_a_surrogate_pair_in_a_name(tmp_path, facts):
    raw = copy.deepcopy(facts)
    raw["files"]["\ud83d"] = raw["files"]["model.onnx"]
    with pytest.raises(BundleError, match="surrogate pair"):
        open_bundle(write(tmp_path, raw))


@pytest.mark.parametrize("name", ["../outside.onnx", "/outside.onnx", "not_listed.onnx", "x" * 5000])
def test_a_graph_outside_the_bundle_or_its_files(tmp_path, facts, name):
    with pytest.raises(BundleError, match="which is not among its files") as caught:
        open_bundle(write(tmp_path, changed(facts, "fused.file", name)))
    assert len(caught.value.message) < 500


def test_a_link_that_leaves_the_bundle(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "model.onnx"
    elsewhere.write_bytes(FILES["model.onnx"])
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(elsewhere)
    with pytest.raises(BundleError, match=r"model\.onnx is a link that leaves the bundle"):
        open_bundle(folder)


def test_links_inside_a_bundle_and_to_it(folder, tmp_path_factory):
    (folder / "data").mkdir()
    (folder / "model.onnx").rename(folder / "data" / "fused")
    (folder / "model.onnx").symlink_to("data/fused")  # as Kubernetes mounts files
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(folder)
    open_bundle(link).require_intact()


def test_a_snapshot_in_the_hubs_cache_is_made_of_links(tmp_path, facts):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in write(snapshot, facts).iterdir():
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    open_bundle(snapshot).require_intact()


def test_a_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"not a bundle: it has no manifest\.json") as caught:
        open_bundle(tmp_path)
    assert "trbert-deploy export" in caught.value.hint
    with pytest.raises(BundleError, match="not a bundle: it does not exist"):
        open_bundle(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="not a bundle"):
        open_bundle(tmp_path / "file")
    with pytest.raises(BundleError, match="cannot be read: File name too long"):
        open_bundle(tmp_path / ("x" * 5000))


def test_the_version_that_is_written():
    assert SCHEMA_VERSION == "2.0"
