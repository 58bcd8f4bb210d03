"""Buckets, options and caches of the TensorRT providers; their sessions are replaced by ones on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnxruntime import InferenceSession

from trbert_deploy.api import Engine, load
from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import DeviceError, MissingExtraError, TRBertError
from trbert_deploy.core.specs import TensorSpec
from trbert_deploy.runtimes.environment import TF32_SWITCH
from trbert_deploy.runtimes.onnxruntime import tensorrt_providers as module
from trbert_deploy.runtimes.onnxruntime.pool import session_options
from trbert_deploy.runtimes.onnxruntime.provider_options import (
    bucket_profiles,
    profile_shapes,
    provider_options,
    provider_shapes,
)
from trbert_deploy.runtimes.onnxruntime.sessions import run_session
from trbert_deploy.runtimes.onnxruntime.tensorrt_providers import provider_runtime
from trbert_deploy.runtimes.profiles import Profile
from trbert_deploy.runtimes.tensorrt_checks import BuildError
from trbert_deploy.verification import verify_engine

ROWS = TensorSpec("rows", ("batch",), "int64")
INPUTS = [
    TensorSpec("hidden_states", ("batch_before", "length", 32), "float32"),
    ROWS,
    TensorSpec("keep", ("kept",), "int64"),
]


@pytest.fixture(scope="module")
def bundle(golden_bundle):
    return open_bundle(golden_bundle("distilbert3-sequence-classification"))


@pytest.fixture
def on_cpu(tmp_path, monkeypatch):
    """Makes runtimes whose sessions run on the CPU; what they were started with is kept."""
    started = []

    def start(path, provider, settings, options):
        started.append((path.name, provider, settings))
        return InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(module, "start_session", start)
    monkeypatch.setattr(module, "run_session", lambda *arguments: run_session(*arguments[:3], "cpu"))

    def make(bundle):
        made = provider_runtime(bundle, "tensorrt", "staged", tmp_path, lambda: session_options(None, True))
        return made, started

    return make


@pytest.fixture
def runtime(bundle, on_cpu):
    return on_cpu(bundle)


def test_shapes_are_written_as_the_providers_read_them():
    profile = Profile(axes={"batch": (1, 2, 4), "batch_before": (1, 4, 4), "length": (1, 8, 16), "kept": (1, 8, 8)})
    assert profile_shapes(INPUTS, profile) == [
        "hidden_states:1x1x32,rows:1,keep:1",
        "hidden_states:4x8x32,rows:2,keep:8",
        "hidden_states:4x16x32,rows:4,keep:8",
    ]


def test_options_cache_engines(tmp_path):
    profile = Profile(axes={"batch": (1, 2, 4)})
    options = provider_options("tensorrt", [ROWS], profile, tmp_path / "engine")
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_engine_cache_path"] == str(tmp_path / "engine")
    assert options["trt_profile_opt_shapes"] == "rows:2"
    options = provider_options("rtx", [ROWS], profile, tmp_path / "engine")
    assert options["nv_runtime_cache_path"] == str(tmp_path / "engine")
    assert options["nv_profile_max_shapes"] == "rows:4"


def test_a_bucket_takes_any_number_of_rows(bundle):
    shapes = provider_shapes(bundle)
    assert shapes.lengths == (32, 64, 96)
    for stage in (0, 1):
        profiles = bucket_profiles(bundle, shapes, stage)
        assert [profile.axes["kept" if stage else "length"][2] for profile in profiles] == [32, 64, 96]
        assert {profile.axes["batch"] for profile in profiles} == {(1, 32, 32)}
    assert {profile.axes["batch_before"] for profile in profiles} == {(1, 32, 32)}


def test_answers_are_the_references_and_a_bucket_is_a_session(bundle, runtime):
    made, started = runtime
    with Engine(bundle, made) as engine:
        assert started == []
        assert verify_engine(engine).complaints == []
        before = len(started)
        assert before == len({(name, settings["trt_profile_opt_shapes"]) for name, _, settings in started})
        caches = [settings["trt_engine_cache_path"] for _, _, settings in started]
        assert len(set(caches)) == before  # each has a folder of its own
        assert verify_engine(engine).complaints == []
        assert len(started) == before


def test_engines_with_and_without_tf32_have_caches_of_their_own(runtime, monkeypatch):
    runner = runtime[0]._runner
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    rounded = runner.cache(0, 0)
    assert rounded == runner.cache(0, 0)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert runner.cache(0, 0) != rounded


def test_batches_larger_than_a_session_are_split(bundle, runtime):
    made, _ = runtime
    ids = np.random.default_rng(0).integers(0, bundle.manifest.task.inputs[0].maximum + 1, (70, 12))
    with Engine(bundle, made) as engine, load(bundle) as wanted:
        np.testing.assert_allclose(
            engine.run(input_ids=ids)["logits"], wanted.run(input_ids=ids)["logits"], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", ["bert-multiple-choice", "bert-hotpot-question-answering", "bert-wikihop"])
def test_an_axis_of_the_tasks_own_is_the_manifests(golden_bundle, name):
    """No session has to be asked: axes of another package's task are told the same way."""
    bundle = open_bundle(golden_bundle(name))
    shapes = provider_shapes(bundle)
    (own,) = {axis for spec in bundle.manifest.task.inputs for axis in spec.axes[1:]} - {"length", 2}
    for stage, graph in enumerate(bundle.manifest.stages):
        for profile in bucket_profiles(bundle, shapes, stage):
            assert profile.axes[own] == (1, 64, 64)
            least, _, most = profile_shapes(graph.inputs, profile)
            assert least.count(":") == most.count(":") == len(graph.inputs)


def test_more_of_an_axis_than_the_sessions_hold_is_refused(golden_bundle, on_cpu):
    wikihop = open_bundle(golden_bundle("bert-wikihop"))
    with Engine(wikihop, on_cpu(wikihop)[0]) as engine:
        assert verify_engine(engine).complaints == []
        with pytest.raises(TRBertError, match="64 options, sentences or candidates") as caught:
            engine.run(input_ids=[[2, 5, 3]], candidate_positions=[[1] * 65])
    assert "--provider left out" in caught.value.hint


def test_graphs_that_tensorrt_does_not_take_are_refused(bundle, tmp_path):
    with pytest.raises(BuildError, match="in policy mode the number of tokens that go on depends on the data"):
        provider_runtime(bundle, "tensorrt", "fused", tmp_path, lambda: session_options(None, True))


def test_options_that_do_not_go_together(bundle):
    with pytest.raises(TRBertError, match="unknown provider"):
        load(bundle, provider="openvino")
    with pytest.raises(TRBertError, match="runtime 'torch' has no providers"):
        load(bundle, runtime="torch", provider="rtx")
    with pytest.raises(DeviceError, match="device 'cpu'"):
        load(bundle, provider="tensorrt", device="cpu")


@pytest.mark.skipif(
    "TensorrtExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has it"
)
def test_an_onnx_runtime_without_tensorrt_names_the_extra(bundle):
    with pytest.raises(DeviceError, match="no TensorrtExecutionProvider") as caught:
        load(bundle, provider="tensorrt")
    assert "trbert-deploy[gpu,trt]" in caught.value.hint


def test_rtx_without_its_plugin_names_the_extra(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None)
    with pytest.raises(MissingExtraError) as caught:
        load(bundle, provider="rtx")
    assert "trbert-deploy[ort-rtx]" in caught.value.hint


@pytest.mark.gpu
@pytest.mark.parametrize("keep", [None, "0.25"], ids=["policy", "budget"])
@pytest.mark.parametrize("provider", ["tensorrt", "rtx"])
def test_on_a_gpu_golden_vectors_replay_from_a_new_cache_and_from_an_old_one(golden_bundle, tmp_path, provider, keep):
    """In a process of its own: TF32 is switched off for a process before it first uses the GPU."""
    bundle = golden_bundle("distilbert3-sequence-classification", keep)
    command = [sys.executable, "-m", "trbert_deploy", "verify", bundle, "--provider", provider, "--engines", tmp_path]
    for _ in range(2):
        ran = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {TF32_SWITCH: "0"},
            cwd=Path(__file__).parents[3],
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert any(path.is_file() for path in tmp_path.rglob("*"))
