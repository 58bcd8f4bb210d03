"""How a bundle is loaded: options, devices, and threads that a process has once."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import trbert_deploy
from trbert_deploy.core.errors import DeviceError, TRBertError
from trbert_deploy.verification import verify_engine


def test_onnx_runtime_needs_no_torch(bundle):
    code = f"""
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "transformers", "onnx", "onnxscript", "safetensors"):
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Absent())
        import trbert_deploy

        for mode in ("staged", "fused", "dense"):
            engine = trbert_deploy.load({str(bundle)!r}, mode=mode)
            print(engine.run(input_ids=[[2, 5, 9, 3]])["logits"].shape)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert ran.stdout.split("\n")[:3] == ["(1, 3)"] * 3, ran.stderr


def test_one_pool_of_threads_a_process(bundle):
    code = f"""
        import trbert_deploy
        engine = trbert_deploy.load({str(bundle)!r}, threads=1)
        trbert_deploy.load({str(bundle)!r})
        try:
            trbert_deploy.load({str(bundle)!r}, threads=2)
        except trbert_deploy.TRBertError as error:
            print(error)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert "2 threads were asked for, but this process's ONNX Runtime pool has 1" in ran.stdout, ran.stderr


def test_no_engine_has_its_own_pool_beside_a_shared_one(bundle):
    with trbert_deploy.load(bundle), pytest.raises(TRBertError, match="already share one pool"):
        trbert_deploy.load(bundle, share_pool=False)


@pytest.mark.parametrize("share_pool", [True, False])
def test_other_sessions_of_the_process(bundle, share_pool):
    """ONNX Runtime has one rule for all: beside the shared pool no session may have its own."""
    code = f"""
        import onnxruntime, trbert_deploy
        engine = trbert_deploy.load({str(bundle)!r}, share_pool={share_pool})
        print(engine.run(input_ids=[[2, 5, 3]])["logits"].shape)
        onnxruntime.InferenceSession({str(bundle / "dense.onnx")!r})
        print("another session")
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert "(1, 3)" in ran.stdout, ran.stderr
    assert ("another session" in ran.stdout) is not share_pool


@pytest.mark.parametrize("runtime", ["ort", "torch"])
def test_a_device_that_is_not_there_is_an_error(bundle, runtime):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match="'cuda' was asked for"):
        trbert_deploy.load(bundle, runtime=runtime, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize(("runtime", "mode"), [("ort", "staged"), ("ort", "fused"), ("torch", "staged")])
def test_cuda_answers_as_the_reference(bundle, runtime, mode):
    with trbert_deploy.load(bundle, runtime=runtime, mode=mode, device="cuda") as engine:
        assert engine.runtime.device == "cuda"
        assert verify_engine(engine).complaints == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tpu"}, "unknown runtime 'tpu'. one of: ort, trt, torch"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"mode": "eager"}, "unknown mode 'eager'"),
    ],
)
def test_unknown_options_name_the_known(bundle, options, message):
    with pytest.raises(TRBertError, match=message):
        trbert_deploy.load(bundle, **options)


def test_options_are_one_object_or_keywords_of_it(bundle):
    options = trbert_deploy.LoadOptions(mode="fused", share_pool=True)
    with trbert_deploy.load(bundle, options) as whole, trbert_deploy.load(bundle, mode="fused") as by_name:
        ids = [[2, 5, 9, 3]]
        np.testing.assert_array_equal(whole.run(input_ids=ids)["logits"], by_name.run(input_ids=ids)["logits"])
    with pytest.raises(TRBertError, match="unknown mode 'eager'"):
        trbert_deploy.load(bundle, options, mode="eager")
    with pytest.raises(TypeError, match=r"load\(\) takes no speed; it takes runtime, "):
        trbert_deploy.load(bundle, speed=3)


def test_cuda_sessions_compute_in_float32(bundle, monkeypatch):
    """TF32, the provider's default, would compare selector logits in 10 bits of mantissa."""
    from trbert_deploy.bundle import open_bundle
    from trbert_deploy.runtimes.onnxruntime import sessions
    from trbert_deploy.runtimes.options import LoadOptions

    asked = []

    class Session:
        def __init__(self, path, options, **settings):
            asked.append(settings)

        def get_providers(self):
            return ["CUDAExecutionProvider"]

    monkeypatch.setattr(sessions, "InferenceSession", Session)
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    sessions.open_sessions(open_bundle(bundle), LoadOptions(device="cuda", mode="fused"))
    assert asked == [{"providers": [("CUDAExecutionProvider", {"use_tf32": "0"})], "enable_fallback": 0}]


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_what_is_no_number_of_threads(bundle, threads):
    with pytest.raises(TRBertError, match="threads must be a whole number of at least 1"):
        trbert_deploy.load(bundle, threads=threads)
