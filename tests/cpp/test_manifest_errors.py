"""Manifests that the C++ library refuses, each with the way out."""

from __future__ import annotations

import pytest
from broken_bundles import assert_refused, edit_manifest

EDITS = [
    (
        lambda manifest: manifest.update(schema_version="3.0"),
        "schema version 3.0, this library reads 1.x to 2.x.*upgrade",
    ),
    (lambda manifest: manifest.update(schema_version="0.9"), "schema version 0.9.*export the bundle again"),
    (lambda manifest: manifest.update(schema_version="2"), "no schema_version"),
    (lambda manifest: manifest.update(schema_version="2.x"), "no schema_version"),
    (lambda manifest: manifest.update(schema_version="2.0\n"), "no schema_version"),
    (lambda manifest: manifest.update(schema_version="\u0662.\u0660"), "no schema_version"),
    (lambda manifest: manifest.update(schema_version="2.0000000"), "no schema_version"),
    (lambda manifest: manifest.update(schema_version=2.0), "no schema_version"),
    (lambda manifest: manifest.update(schema_version="1.3"), "does not follow the schema"),
    (lambda manifest: manifest.update(task="sequence-classification"), "task is no object"),
    (lambda manifest: manifest["stages"].pop(), "do not fit the reductions"),
    (lambda manifest: manifest["reduction"].update(mode="budget"), "fractions do not fit"),
    (lambda manifest: manifest["reduction"].update(mode="other"), "unknown mode other"),
    (lambda manifest: manifest["reduction"].update(fate="melted"), "unknown fate melted"),
    (lambda manifest: manifest["reduction"].update(layers=[2, 1]), "must ascend"),
    (lambda manifest: manifest["task"].update(max_length=0), "max_length must lie in 1"),
    (lambda manifest: manifest["task"]["inputs"][0].update(maximum="many"), "an integer is wanted"),
    (lambda manifest: manifest["task"]["inputs"][0].update(maximum=1.5), "an integer is wanted"),
    (lambda manifest: manifest["task"]["inputs"][0].update(maximum=None), "needs a maximum"),
    (lambda manifest: manifest["task"]["decoding"]["parameters"].update(output="x"), "must name an output with axes"),
    (lambda manifest: manifest["stages"][0]["inputs"].append(SECRET), "stage_0.onnx takes secret"),
    (lambda manifest: drop(manifest["stages"][0]["outputs"], "keep_count"), "gives no keep_count"),
    (lambda manifest: drop(manifest["stages"][0]["inputs"], "input_ids"), "number of inputs"),
    (lambda manifest: drop(manifest["fused"]["outputs"], "logits"), "gives no logits"),
    (lambda manifest: manifest["stages"][0]["inputs"][0].update(dtype="int32"), "takes input_ids as int32"),
    (lambda manifest: manifest.update(precision="int8"), "quantization is said of int8"),
    (lambda manifest: manifest.update(precision="int4"), "unknown precision int4"),
    (lambda manifest: manifest["files"].pop("stage_1.onnx"), "not among its files"),
    (lambda manifest: manifest["files"].update({"../out": FACTS}), "outside the bundle"),
    (lambda manifest: manifest["files"].update({"/etc/passwd": FACTS}), "outside the bundle"),
    (lambda manifest: manifest["files"].update({"a\\b": FACTS}), "outside the bundle"),
    (lambda manifest: manifest["files"].update({"none": FACTS}), "none is missing"),
    (lambda manifest: manifest["files"].update({"none": {"sha256": "0", "bytes": 1}}), "sha256 is not 64 hexadecimal"),
]
SECRET = {"name": "secret", "axes": ["batch"], "dtype": "int64"}
FACTS = {"sha256": "0" * 64, "bytes": 1}
REQUIRED = [
    "task",
    "model",
    "reduction",
    "costs",
    "precision",
    "stages",
    "fused",
    "dense",
    "tokenizer",
    "golden",
]


def drop(tensors, name):
    tensors[:] = [tensor for tensor in tensors if tensor["name"] != name]


@pytest.mark.parametrize(("edit", "message"), EDITS)
def test_manifests_that_are_refused(fresh_engine, broken, edit, message):
    edit_manifest(broken, edit)
    assert_refused(fresh_engine, broken, message)


@pytest.mark.parametrize("name", [*REQUIRED, "files"])
def test_every_required_field(fresh_engine, broken, name):
    edit_manifest(broken, lambda manifest: manifest.pop(name))
    assert_refused(fresh_engine, broken, name)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000, b'{"a":1}' * 2, b'{"a":1, "a":1}']
)
def test_manifests_that_are_none(fresh_engine, broken, content):
    (broken / "manifest.json").write_bytes(content)
    assert_refused(fresh_engine, broken, "not valid JSON|no schema_version")


def test_a_manifest_that_is_too_large_or_no_file(fresh_engine, broken):
    with (broken / "manifest.json").open("r+b") as file:
        file.truncate(17 * 2**20)
    assert_refused(fresh_engine, broken, "more than the 16777216 that are read")
    (broken / "manifest.json").unlink()
    (broken / "manifest.json").mkdir()
    assert_refused(fresh_engine, broken, "not a regular file")
