"""Bundles in fp16 and int8: `build` takes every graph of them, in the precision that their label says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trbert_deploy.api import load
from trbert_deploy.bundle import open_bundle
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.building import build_engines
from trbert_deploy.runtimes.tensorrt.engine_cache import read_engine
from trbert_deploy.runtimes.tensorrt_checks import BuildError
from trbert_deploy.verification import verify_engine

CHECKPOINT = Path(__file__).parents[2] / "golden" / "distilbert3-sequence-classification"
SHAPES = ShapeBuckets(lengths=(32, 64), kept=((16, 32),), rows=4, entries=1)
GRAPHS = ["stage_0.onnx", "stage_1.onnx", "dense.onnx"]


@pytest.fixture(scope="module")
def exported(cli, tmp_path_factory, traced_once):
    folder = tmp_path_factory.mktemp("exported")
    rng = np.random.default_rng(11)
    rows = [{"input_ids": rng.integers(5, 90, length).tolist()} for length in rng.integers(3, 60, 70)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def export(name, precision, keep=None, form="tensorrt"):
        extra = ["--keep", keep] if keep else []
        if precision == "int8":
            extra += ["--calibration-data", folder / "rows.jsonl", "--int8-form", form]
        out = folder / name
        result = cli("export", CHECKPOINT, "--out", out, "--with-dense", "--precision", precision, *extra)
        assert result.exit_code == 0, result.output
        return open_bundle(out)

    return export


@pytest.mark.parametrize("keep", [None, "0.4"], ids=["policy", "budget"])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_every_graph_builds_with_several_profiles_and_the_fused_one_in_budget_mode(exported, tmp_path, precision, keep):
    bundle = exported(f"{precision}-{keep}", precision, keep)
    report = build_engines(bundle, SHAPES, flavor="rtx", folder=tmp_path, fused=keep is not None)
    assert [engine.graph for engine in report.engines] == [*GRAPHS, *(["model.onnx"] if keep else [])]
    for engine in report.engines:
        header, _ = read_engine(tmp_path / engine.file)
        assert engine.precision == header.key.precision == precision
        assert engine.profiles == len(header.key.profiles) == 4  # two buckets, one row and many
    again = build_engines(bundle, SHAPES, flavor="rtx", folder=tmp_path, fused=keep is not None)
    assert all(engine.reused for engine in again.engines)


def test_int8_for_cpus_is_refused(exported, tmp_path):
    bundle = exported("cpu", "int8", form="cpu")
    with pytest.raises(BuildError, match="the form for CPUs") as caught:
        build_engines(bundle, SHAPES, flavor="rtx", folder=tmp_path)
    assert "--int8-form tensorrt" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
@pytest.mark.parametrize("keep", [None, "0.4"], ids=["policy", "budget"])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_on_a_gpu_golden_vectors_replay_within_the_precisions_tolerance(exported, tmp_path, precision, keep):
    bundle = exported(f"gpu-{precision}-{keep}", precision, keep)
    shapes = ShapeBuckets(lengths=(32, 96), kept=((16, 96),), rows=4, entries=1)
    build_engines(bundle, shapes, folder=tmp_path)
    with load(bundle, runtime="trt", engines=tmp_path) as engine:
        assert verify_engine(engine).complaints == []
