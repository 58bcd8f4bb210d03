"""Builds of engines: several at once, killed ones, and what is not built."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import BundleError
from trbert_deploy.runtimes.engines_folder import engines_folder
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt import building, cached_build
from trbert_deploy.runtimes.tensorrt.builder import build_engine
from trbert_deploy.runtimes.tensorrt.building import build_engines
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineCache, EngineError, read_engine
from trbert_deploy.runtimes.tensorrt.flavor import find_flavor
from trbert_deploy.runtimes.tensorrt_checks import BuildError

NAME = "distilbert3-sequence-classification"
SHAPES = ShapeBuckets(lengths=(64,), kept=((32,),), rows=1, entries=1)


def test_two_builders_at_once_build_each_engine_once(bundle, tmp_path):
    folder = tmp_path / "engines"
    arguments = ["build", str(bundle.folder), "--flavor", "rtx", "--buckets", "48", "--max-batch", "1", "--json"]
    command = [sys.executable, "-m", "trbert_deploy", *arguments, "--engines", str(folder)]
    root = Path(__file__).parents[3]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root) for _ in range(2)
    ]
    reports = []
    for process in both:
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        reports.append(json.loads(stdout))
    for first, second in zip(*(report["engines"] for report in reports), strict=True):
        assert first["file"] == second["file"]
        assert first["reused"] != second["reused"]
        read_engine(folder / first["file"])


def test_a_killed_builder_leaves_no_engine(bundle, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cached_build, "build_engine", killed)
    with pytest.raises(KeyboardInterrupt):
        build_engines(bundle, SHAPES, flavor="rtx", folder=tmp_path)
    assert list(EngineCache(tmp_path)) == []


def test_engines_lie_beside_the_bundle(bundle):
    assert engines_folder(bundle) == bundle.folder.resolve().parent / f"{bundle.folder.name}.engines"


def test_a_folder_that_cannot_be_written(bundle, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be written") as caught:
        build_engines(bundle, SHAPES, flavor="rtx", folder=tmp_path / "file")
    assert "--engines" in caught.value.hint


def test_a_damaged_bundle_is_not_built(golden_bundle, tmp_path):
    copy = Path(shutil.copytree(golden_bundle(NAME), tmp_path / "bundle"))
    content = bytearray((copy / "stage_1.onnx").read_bytes())
    content[-9] ^= 1
    (copy / "stage_1.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"sha256 of stage_1\.onnx"):
        build_engines(open_bundle(copy), SHAPES, flavor="rtx", folder=tmp_path / "engines")


def test_the_fused_graph_of_policy_mode_is_refused(bundle, tmp_path):
    with pytest.raises(BuildError, match="in policy mode the number of tokens") as caught:
        build_engines(bundle, SHAPES, flavor="rtx", folder=tmp_path, fused=True)
    assert "the stages are made for that" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_the_fused_graph_of_multiple_choice_is_refused_in_budget_mode_too(bundle, tmp_path):
    manifest = bundle.manifest
    changes = {
        "task": dataclasses.replace(manifest.task, name="multiple-choice", protected_from="question_ends"),
        "reduction": dataclasses.replace(manifest.reduction, mode="budget", fractions=(0.5,)),
    }
    several = dataclasses.replace(bundle, manifest=manifest.model_copy(update=changes))
    with pytest.raises(BuildError, match="in task multiple-choice, where every token from question_ends on is kept"):
        build_engines(several, SHAPES, flavor="rtx", folder=tmp_path, fused=True)
    assert list(tmp_path.iterdir()) == []


def test_the_full_tensorrt_builds_on_its_gpu_only(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "find_gpu", lambda: None)
    monkeypatch.setattr(building, "find_flavor", lambda name: dataclasses.replace(find_flavor("rtx"), name="tensorrt"))
    with pytest.raises(BuildError, match="there is none here") as caught:
        build_engines(bundle, SHAPES, folder=tmp_path)
    assert "--flavor rtx" in caught.value.hint


def test_a_label_that_is_not_the_graphs_is_complained_about(golden_bundle, tmp_path):
    copy = Path(shutil.copytree(golden_bundle(NAME), tmp_path / "bundle"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"precision": "fp16"}))
    with pytest.raises(BundleError, match=r"says fp16, but stage_0\.onnx, stage_1\.onnx computes in fp32"):
        build_engines(open_bundle(copy), SHAPES, flavor="rtx", folder=tmp_path / "engines")


def test_an_engine_of_another_precision_than_its_graph_is_not_kept(bundle, tmp_path, monkeypatch):
    def in_half(*arguments):
        return dataclasses.replace(build_engine(*arguments), precision="fp16")

    monkeypatch.setattr(cached_build, "build_engine", in_half)
    with pytest.raises(BuildError, match=r"made fp16 of stage_0\.onnx, which is fp32"):
        build_engines(bundle, SHAPES, flavor="rtx", folder=tmp_path)
    assert list(EngineCache(tmp_path)) == []
