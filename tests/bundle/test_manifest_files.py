"""The files of a bundle against what its manifest says of them."""

from __future__ import annotations

import copy
import os
import shutil

import pytest
from manifests import FILES, changed, write

from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import BundleError


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
