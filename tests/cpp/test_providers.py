"""The TensorRT providers of ONNX Runtime: the same sessions as Python's, and errors where they are not there."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from trbert_deploy.bundle import open_bundle
from trbert_deploy.runtimes.engines_folder import engines_folder
from trbert_deploy.runtimes.onnxruntime.pool import session_options
from trbert_deploy.runtimes.onnxruntime.provider_options import bucket_profiles
from trbert_deploy.runtimes.onnxruntime.tensorrt_providers import ProviderRunner


def tool(cpp, *words):
    result = subprocess.run([cpp.run, *map(str, words)], capture_output=True, text=True, check=False)
    return result.returncode, result.stderr


@pytest.mark.parametrize("provider", ["tensorrt", "rtx"])
@pytest.mark.parametrize(
    "name", ["distilbert3-sequence-classification", "bert-question-answering", "bert-multiple-choice", "bert-wikihop"]
)
@pytest.mark.parametrize("tf32", [None, "0"])
def test_sessions_are_given_what_pythons_are_given(cpp, golden_bundle, name, provider, tf32, monkeypatch):
    """Shapes and caches too: the two use each other's engines."""
    if tf32 is None:
        monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    else:
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", tf32)
    folder = golden_bundle(name)
    bundle = open_bundle(folder)
    graphs = bundle.manifest.stages
    engines = engines_folder(bundle)
    runner = ProviderRunner(bundle, graphs, provider, engines, lambda: session_options(None, True))
    wanted = [
        [runner.settings(stage, number) for number in range(len(bucket_profiles(bundle, runner.shapes, stage)))]
        for stage in range(len(graphs))
    ]
    program = cpp.static / "tests" / "trbert-provider-settings"
    for given_folder in (engines, ""):  # "": beside the bundle, which is what Python does without one
        command = [program, f"{folder}/", provider, given_folder]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert [json.loads(line) for line in printed.splitlines()] == wanted
    assert not engines.exists()


@pytest.mark.parametrize(("provider", "name"), [("tensorrt", "Tensorrt"), ("rtx", "NvTensorRTRTX")])
def test_a_provider_that_is_not_there_is_an_error(cpp, text_bundle, provider, name):
    code, stderr = tool(cpp, text_bundle("sequence-classification"), "--provider", provider, "a text")
    assert code == 1
    assert f"this ONNX Runtime has no {name}ExecutionProvider" in stderr


def test_options_that_do_not_go_together(cpp, text_bundle):
    bundle = text_bundle("sequence-classification")
    for words, message in (
        (["--runtime", "torch"], "unknown runtime 'torch'. one of: ort, trt"),
        (["--provider", "openvino"], "unknown provider 'openvino'"),
        (["--provider", "rtx", "--runtime", "trt"], "has no providers"),
        (["--provider", "rtx", "--device", "cpu"], "does not run on device 'cpu'"),
        (["--provider", "tensorrt", "--provider-library", "x.so"], "provider_library"),
        (["--provider", "tensorrt", "--mode", "fused"], "depends on the data"),
    ):
        code, stderr = tool(cpp, bundle, *words, "a text")
        assert code == 1
        assert message in stderr


def test_a_plugin_that_cannot_be_loaded_is_an_error(cpp, text_bundle):
    """By headers from before plugins: says so. By later ones: ONNX Runtime's reason."""
    bundle = text_bundle("sequence-classification")
    code, stderr = tool(cpp, bundle, "--provider", "rtx", "--provider-library", "/nothing/plugin.so", "a text")
    assert code == 1
    assert "know no provider plugins" in stderr or "/nothing/plugin.so" in stderr


def test_int8_for_cpus_is_refused(cpp, text_bundle, tmp_path):
    folder = shutil.copytree(text_bundle("sequence-classification"), tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["precision"] = "int8"
    manifest["quantization"] = {"form": "cpu", "sensitivity": "golden.json"}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    code, stderr = tool(cpp, folder, "--provider", "tensorrt", "a text")
    assert code == 1
    assert "--int8-form tensorrt" in stderr
