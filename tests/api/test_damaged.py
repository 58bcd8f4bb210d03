"""Bundles that are damaged, of another version or not whole, as `load` finds them."""

from __future__ import annotations

import json
import shutil

import pytest
from edited_json import edit_manifest

import trbert_deploy
from trbert_deploy.core.errors import BundleError
from trbert_deploy.verification import verify_engine

NAME = "bert-sequence-classification"


def test_a_changed_file_is_found(copied):
    path = copied / "stage_1.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"sha256 of stage_1\.onnx"):
        trbert_deploy.load(copied, verify=True)


def test_a_truncated_graph_is_found_without_hashing(copied):
    path = copied / "stage_1.onnx"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BundleError, match=r"incomplete: stage_1\.onnx has \d+ bytes"):
        trbert_deploy.load(copied)


def test_a_graph_that_is_none_is_a_bundle_error(copied, capfd):
    path = copied / "stage_1.onnx"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(BundleError, match=r"stage_1\.onnx is no ONNX graph"):
        trbert_deploy.load(copied, verify=False)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": "3.0"}, r"schema version 3\.0, this release reads 1\.x to 2\.x\. upgrade"),
        ({"schema_version": "0.3"}, r"schema version 0\.3, this release reads 1\.x to 2\.x\. export"),
        ({"schema_version": None}, "has no schema_version"),
        ({"stages": []}, "does not follow the schema: stages"),
        ({"files": {"../../etc/passwd": {"sha256": "0" * 64, "bytes": 1}}}, "names a file outside the bundle"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(copied, changes, message):
    edit_manifest(copied, **changes)
    with pytest.raises(BundleError, match=message):
        trbert_deploy.load(copied)


def test_a_later_minor_version_is_read(copied):
    edit_manifest(copied, schema_version="2.7", something_new={"a": 1})
    with trbert_deploy.load(copied) as engine:
        assert verify_engine(engine).passed


def test_verification_fails_on_another_models_graphs(golden_bundle, copied):
    """A wrong artifact whose hashes are right: only the golden vectors can tell."""
    from trbert_deploy.bundle.reader import sha256_of

    other = golden_bundle(NAME, "0.5,0.2") / "model.onnx"  # the same weights, another selection
    shutil.copy(other, copied / "model.onnx")
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = {"sha256": sha256_of(other), "bytes": other.stat().st_size}
    edit_manifest(copied, files=manifest["files"])
    with trbert_deploy.load(copied, mode="staged", verify=True) as engine:
        assert verify_engine(engine).passed
    with trbert_deploy.load(copied, mode="fused", verify=True) as engine:
        result = verify_engine(engine)
    assert not result.passed
    assert any("kept positions differ" in complaint for complaint in result.complaints)


def test_a_bundle_without_reference_says_so(tmp_path, golden, traced_once):
    from trbert_deploy.checkpoint import load_checkpoint
    from trbert_deploy.export.exporter import export_bundle

    checkpoint = load_checkpoint(golden("distilbert3-sequence-classification").folder)
    bundle = export_bundle(checkpoint, tmp_path / "bundle", reference=False)
    with pytest.raises(BundleError, match="--no-reference"):
        trbert_deploy.load(bundle, runtime="torch")
    with pytest.raises(BundleError, match="--with-dense"):
        trbert_deploy.load(bundle, mode="dense")
