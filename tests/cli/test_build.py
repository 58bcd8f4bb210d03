from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from trbert_deploy.runtimes.tensorrt.options import BuildOptions


@pytest.fixture
def bundle(golden_bundle, tmp_path):
    return Path(shutil.copytree(golden_bundle("distilbert3-sequence-classification", "0.25"), tmp_path / "bundle"))


def test_build_then_build_again_then_inspect(cli, bundle):
    arguments = ("build", bundle, "--flavor", "rtx", "--buckets", "64/16", "--max-batch", 1, "--fused")
    result = cli(*arguments)
    assert result.exit_code == 0, result.output
    for graph in ("stage_0.onnx", "stage_1.onnx", "dense.onnx", "model.onnx"):
        assert f"{graph}: fp32, " in result.stderr  # a line when it is done, with the time it took
        assert graph in result.stdout
    assert "buckets 64/16, up to 1 rows" in result.stdout
    assert result.stderr.splitlines()[-1] == f"next: trbert-deploy verify {bundle} --runtime trt"

    again = json.loads(cli(*arguments, "--json").stdout)
    assert (again["schema_version"], again["command"], again["flavor"]) == ("2.0", "build", "rtx")
    assert again["shapes"] == {"lengths": [64], "kept": [[16]], "rows": 1, "entries": 64}
    assert again["config"] == dataclasses.asdict(BuildOptions(flavor="rtx", buckets="64/16", max_batch=1, fused=True))
    assert all(engine["reused"] for engine in again["engines"])
    assert Path(again["folder"]) == bundle.resolve().with_name("bundle.engines")

    listed = json.loads(cli("inspect", bundle, "--json").stdout)["engines"]
    assert {engine["file"] for engine in listed} == {engine["file"] for engine in again["engines"]}
    (bundle.with_name("bundle.engines") / listed[0]["file"]).write_bytes(b"nothing")
    shown = cli("inspect", bundle)
    assert shown.exit_code == 0
    assert "is no engine of this release" in " ".join(shown.stdout.split())


def test_buckets_come_from_one_place(cli, bundle):
    result = cli("build", bundle, "--flavor", "rtx", "--buckets", "64", "--data", "rows.jsonl")
    assert result.exit_code == 2
    assert "not both" in result.output


def test_inspect_of_a_bundle_without_engines(cli, bundle):
    assert json.loads(cli("inspect", bundle, "--json").stdout)["engines"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--buckets", "1/2/3"), "3 lists of buckets"),
        (("--data", "absent.jsonl"), "does not exist"),
        (("--compute-capability", "3.5", "--buckets", "8"), "compute capability 3.5"),
    ],
)
def test_mistakes(cli, bundle, arguments, message):
    result = cli("build", bundle, "--flavor", "rtx", *arguments)
    assert result.exit_code == 1
    assert message in str(result.exception)
