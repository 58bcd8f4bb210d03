"""examples/triton: a repository in a real server, the tritonserver of nvidia-pytriton.

It is installed by ``pip install --no-deps nvidia-pytriton``. TRITON_PYTHON is a Python of a virtual environment with
this package and numpy 1.26, which that server needs (see the README). Its onnxruntime backend is not on PyPI; where
TRITON_ONNXRUNTIME_BACKEND names a folder with one (libtriton_onnxruntime.so), the graph is served as well.
"""

import contextlib
import functools
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from triton_requests import REQUESTS, TASKS, assert_answers, config_of, reference, text_inputs
from tritonclient import grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

import trbert_deploy


def wheel():
    spec = importlib.util.find_spec("pytriton")
    return None if spec is None else Path(spec.submodule_search_locations[0])


@contextlib.contextmanager
def served(repository, folder):
    """Starts tritonserver on a repository and gives a client."""
    parts = wheel() / "tritonserver"
    backends = folder / "backends"
    shutil.copytree(parts / "backends", backends)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(parts / "python_backend_stubs" / version / "triton_python_backend_stub", backends / "python")
    models = ["trbert"]
    if onnx_backend := os.environ.get("TRITON_ONNXRUNTIME_BACKEND"):
        (backends / "onnxruntime").symlink_to(onnx_backend)
        models.append("trbert_onnx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [parts / "bin" / "tritonserver", "--model-control-mode", "explicit", "--exit-on-error", "true"]
    command += [f"--load-model={model}" for model in models]
    command += ["--model-repository", repository, "--backend-directory", backends, "--disable-auto-complete-config"]
    command += ["--grpc-address", "127.0.0.1", "--grpc-port", str(port), "--allow-http=false", "--allow-metrics=false"]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(parts.parents[1] / "nvidia_pytriton.libs"),
        "PATH": f"{Path(os.environ['TRITON_PYTHON']).parent}:{os.environ['PATH']}",
    }
    log = folder / "log.txt"
    with log.open("w") as stream:
        server = subprocess.Popen(list(map(str, command)), env=environment, stdout=stream, stderr=stream)
    try:
        with grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            _wait(client, server, log)
            yield client, models
    finally:
        server.terminate()
        server.wait(60)


def _wait(client, server, log):
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(InferenceServerException):
            if client.is_server_ready():
                return
        time.sleep(0.5)
    raise AssertionError(log.read_text())


def send(client, model, requests):
    """Sends all requests at once; for each its output arrays by name, or its error."""
    answers = {}

    def keep(number, result, error):
        answers[number] = error or {o.name: result.as_numpy(o.name) for o in result.get_response().outputs}

    for number, request in enumerate(requests):
        inputs = []
        for name, array in request.items():
            inputs.append(grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
            inputs[-1].set_data_from_numpy(array)
        client.async_infer(model, inputs, functools.partial(keep, number))
    deadline = time.monotonic() + 60
    while len(answers) < len(requests) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [answers[number] for number in range(len(requests))]


@pytest.mark.slow
@pytest.mark.skipif(
    wheel() is None or "TRITON_PYTHON" not in os.environ, reason="no nvidia-pytriton, or no TRITON_PYTHON for it"
)
@pytest.mark.parametrize("task", TASKS)
def test_a_real_server(repository_of, bundle_of, id_requests, tmp_path, task):
    shutil.copytree(repository_of(task), tmp_path / "models")
    for folder in (tmp_path / "models").iterdir():  # wait for each other, so that there are batches
        config = config_of(folder)
        config.dynamic_batching.max_queue_delay_microseconds = 300_000
        (folder / "config.pbtxt").write_text(text_format.MessageToString(config))
    bundle = bundle_of(task)
    arrays, rows = id_requests(task)
    texts = REQUESTS.get(task, [])
    broken = {name: array.copy() for name, array in arrays[0].items()}
    broken["input_ids"][..., 0] = 120
    declared = config_of(tmp_path / "models" / "trbert").output
    with served(tmp_path / "models", tmp_path) as (client, models):
        requests = [*map(text_inputs, texts), *arrays, broken]
        answers = send(client, "trbert", requests)
        for outputs, items in zip(answers, [*texts, *rows], strict=False):
            assert isinstance(outputs, dict), str(outputs)
            assert_answers(outputs, reference(bundle, items), declared)
        assert answers[-1].status() == "StatusCode.INVALID_ARGUMENT"
        assert "the vocabulary of this model ends at 119" in answers[-1].message()
        (statistics,) = client.get_inference_statistics("trbert").model_stats
        assert statistics.execution_count < len(requests), "requests of different lengths were not batched"
        if task == "sequence-classification":  # Triton's own ranking, by the label file
            inputs = [grpc.InferInput("text", [1, 1], "BYTES")]
            inputs[0].set_data_from_numpy(np.array([["bad"]], dtype=np.object_))
            ranked = client.infer("trbert", inputs, outputs=[grpc.InferRequestedOutput("scores", class_count=1)])
            (answer,) = reference(bundle, ["bad"])
            assert ranked.as_numpy("scores").item().decode().rpartition(":")[2] == answer["label"]
        if "trbert_onnx" in models:
            thrice = [arrays[0], arrays[0], *arrays]
            with trbert_deploy.load(bundle, runtime="torch") as engine:
                for request, outputs in zip(thrice, send(client, "trbert_onnx", thrice), strict=True):
                    assert isinstance(outputs, dict), str(outputs)
                    flat = {n: a[:, 0] if n == "question_ends" else a for n, a in request.items()}
                    wanted = engine.run(return_selection=True, **flat)
                    for name, array in wanted.items():
                        np.testing.assert_allclose(outputs[name], array, atol=1e-4)
                    kept = outputs["keep_mask_1"].sum(-1).tolist()
                    assert kept == [len(positions) for positions in wanted.selection[0]]
            (statistics,) = client.get_inference_statistics("trbert_onnx").model_stats
            shapes = {request["input_ids"].shape[1:] for request in thrice}
            assert len(shapes) <= statistics.execution_count < len(thrice), "requests of one shape were not batched"
