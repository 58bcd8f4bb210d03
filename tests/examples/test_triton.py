"""examples/triton: configurations against the real graphs, model.py against PyTorch, and both in a real server."""

import contextlib
import functools
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient import grpc
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup
from tritonclient.utils import (
    InferenceServerException,
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

import trbert_deploy
from trbert_deploy.bundle import open_bundle
from trbert_deploy.bundle.reader import sha256_of
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.core.errors import BundleError, CheckFailedError, DeviceError, TRBertError
from trbert_deploy.text.json_lines import read_json_lines

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "triton"
REVIEWS = [line["text"] for line in read_json_lines(evaluation_file())][:40]
TASKS = [
    "sequence-classification",
    "token-classification",
    "question-answering",
    "multiple-choice",
    "hotpot",
    "wikihop",
]
#: For each task that takes text: requests of one or two items, of different lengths.
REQUESTS = {
    "sequence-classification": [
        [{"text": REVIEWS[0][:90]}, {"text": "bad, café"}],
        [{"text": REVIEWS[1], "text_pair": REVIEWS[2][:20]}],
        [{"text": ""}],
    ],
    "token-classification": [[{"text": REVIEWS[0][:50]}, {"text": "a"}], [{"text": "The café is bad."}]],
    "question-answering": [
        [{"question": "Who?", "context": REVIEWS[3][:80]}, {"question": "Why is it?", "context": "bad"}],
        [{"question": "What now?", "context": ""}],
    ],
    "multiple-choice": [
        [{"context": REVIEWS[4][:40], "question": "Good?", "choices": ["yes", "no", "in parts"]}],
        [{"context": REVIEWS[n][: 9 * n], "question": "?", "choices": ["a", "bcd"]} for n in (5, 6)],
    ],
}
ON_GPU = ModelInstanceGroup.Kind.KIND_GPU


def load(file, name):
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load(FOLDER / "make_repository.py", "make_repository")


@pytest.fixture(scope="session")
def bundle_of(text_bundle):
    """A bundle of a tiny random model of a task, with a tokenizer where it takes text."""

    @functools.cache
    def open_one(task, *, tokenizer=True, num_labels=3):
        return open_bundle(text_bundle(task, num_labels=num_labels, tokenizer=tokenizer and task in REQUESTS))

    return open_one


@pytest.fixture(scope="session")
def repository_of(tmp_path_factory, bundle_of):
    @functools.cache
    def make(task, **options):
        folder = tmp_path_factory.mktemp("repository") / "models"
        script.make_repository(bundle_of(task, **options), folder)
        return folder

    return make


def config_of(folder):
    return text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), ModelConfig())


def text_inputs(items):
    """A request of these items: for each key an array [B, 1], of choices [B, choices]."""
    return {
        key: np.array([np.atleast_1d(np.array(item[key], dtype=np.object_)) for item in items], dtype=np.object_)
        for key in items[0]
    }


@pytest.fixture(scope="session")
def id_requests(random_rows, batch_of, bundle_of, tiny_model):
    """For a task, requests of token ids of different lengths, as Triton's clients shape them, and as items."""

    def make(task):
        model = tiny_model(task, layers=2)
        requests, items = [], []
        for seed, lengths in enumerate(([9, 14], [5], [30])):
            rows = random_rows(model, lengths, seed)
            requests.append(batch_of(rows))
            items.append([{name: array[0].tolist() for name, array in row.items()} for row in rows])
        for request in requests:
            if "question_ends" in request:
                request["question_ends"] = request["question_ends"][:, None]
        return requests, items

    return make


def reference(bundle, items):
    with trbert_deploy.load(bundle, runtime="torch") as engine:
        return engine.predict(items)


def assert_answers(outputs, answers, declared):
    """Tensors against the reference's answers: every declared output is there wherever every answer has it."""
    assert [json.loads(text) for text in outputs["answer_json"][:, 0]] == [_approximately(a) for a in answers]
    for output in declared:
        if output.name == "answer_json":
            continue
        wanted = [answer.get(output.name) for answer in answers]
        if None in wanted:
            assert output.name not in outputs
            continue
        given = outputs[output.name]
        wanted = [list(value.values()) if isinstance(value, dict) else value for value in wanted]
        assert len(given) == len(answers)
        if output.data_type == DataType.TYPE_STRING:
            assert [text.decode() for text in given[:, 0]] == wanted
        else:
            np.testing.assert_allclose(given, np.array(wanted).reshape(len(answers), -1), atol=1e-4)
        assert given.dtype == triton_to_np_dtype(DataType.Name(output.data_type)[5:].replace("STRING", "BYTES"))
        assert given.ndim == 1 + len(output.dims)
        assert all(size in (-1, real) for size, real in zip(output.dims, given.shape[1:], strict=True))


def _approximately(value):
    if isinstance(value, dict):
        return {key: _approximately(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_approximately(part) for part in value]
    return pytest.approx(value, abs=1e-4) if isinstance(value, float) else value


# -- config.pbtxt


@pytest.mark.parametrize("task", TASKS)
def test_the_configuration_is_the_graphs(repository_of, session_of, id_requests, task):
    folder = repository_of(task) / "trbert_onnx"
    config = config_of(folder)
    assert (config.name, config.backend) == ("trbert_onnx", "onnxruntime")
    assert config.max_batch_size == 32
    assert config.HasField("dynamic_batching")
    graph = folder / "1" / config.default_model_filename
    session = session_of(onnx.load(graph))
    for declared, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [value.name for value in declared] == [value.name for value in real]
        for value, tensor in zip(declared, real, strict=True):
            types_ = {"tensor(int64)": DataType.TYPE_INT64, "tensor(float)": DataType.TYPE_FP32}
            assert value.data_type == types_[tensor.type]
            dims = [] if value.HasField("reshape") else list(value.dims)
            assert value.HasField("reshape") == (len(tensor.shape) == 1)
            assert dims == [size if isinstance(size, int) else -1 for size in tensor.shape[1:]]
    for request in id_requests(task)[0]:  # what Triton does with a request: every input there, reshaped, run
        feeds = {
            value.name: request[value.name][:, 0] if value.HasField("reshape") else request[value.name]
            for value in config.input
        }
        for value, array in zip(config.output, session.run(None, feeds), strict=True):
            assert len(array) == len(request["input_ids"])
            assert array.ndim == 1 + len(value.dims)
            assert all(size in (-1, real) for size, real in zip(value.dims, array.shape[1:], strict=True))


def test_labels_stand_in_the_order_of_the_logits(repository_of, bundle_of):
    labels = bundle_of("sequence-classification").manifest.model.labels
    assert len(labels) == 3
    for name, output in (("trbert", "scores"), ("trbert_onnx", "logits")):
        folder = repository_of("sequence-classification") / name
        named = {value.name: value.label_filename for value in config_of(folder).output if value.label_filename}
        assert list(named) == [output]
        assert (folder / named[output]).read_text(encoding="utf-8").splitlines() == labels
    for task in TASKS[1:]:
        for folder in repository_of(task).iterdir():
            assert not any(value.label_filename for value in config_of(folder).output)
            assert not (folder / "labels.txt").exists()


def test_cuda_and_the_other_options(bundle_of, tmp_path):
    script.make_repository(
        bundle_of("wikihop"), tmp_path / "m", name="reader", device="cuda", max_batch_size=8, threads=2
    )
    text, graph = config_of(tmp_path / "m" / "reader"), config_of(tmp_path / "m" / "reader_onnx")
    for config in (text, graph):
        assert config.max_batch_size == 8
        assert [group.kind for group in config.instance_group] == [ON_GPU]
    assert list(text.instance_group[0].gpus) == [0]
    assert text.parameters["threads"].string_value == "2"
    assert graph.parameters["intra_op_thread_count"].string_value == "2"
    (accelerator,) = graph.optimization.execution_accelerators.gpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == ("cuda", {"use_tf32": "0"})


def test_without_a_tokenizer_there_is_no_text(repository_of):
    config = config_of(repository_of("sequence-classification", tokenizer=False) / "trbert")
    assert [value.name for value in config.input] == ["input_ids", "attention_mask", "token_type_ids"]


def test_what_cannot_be_made_is_refused_and_leaves_nothing(bundle_of, tmp_path, monkeypatch, capsys):
    bundle = bundle_of("sequence-classification")
    (tmp_path / "there").mkdir()
    with pytest.raises(TRBertError, match="exists"):
        script.make_repository(bundle, tmp_path / "there")
    with pytest.raises(TRBertError, match="no name"):
        script.make_repository(bundle, tmp_path / "m", name="a/b")
    for wrong in ({"max_batch_size": 0}, {"threads": 0}):
        with pytest.raises(TRBertError, match="from 1 on"):
            script.make_repository(bundle, tmp_path / "m", **wrong)
    copy = tmp_path / "copy"
    shutil.copytree(bundle.folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["model"]["labels"][0] = "two\nlines"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="line break"):
        script.make_repository(open_bundle(copy), tmp_path / "m")
    graph = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(graph[:-1] + bytes([graph[-1] ^ 1]))
    monkeypatch.setattr(sys, "argv", ["make_repository.py", str(copy), str(tmp_path / "m")])
    with pytest.raises(SystemExit, match=r"error: .*sha256 of model.onnx") as ended:
        script.main()
    assert "hint: export the bundle again" in str(ended.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "there"]
    monkeypatch.setattr(sys, "argv", ["make_repository.py", str(bundle.folder), str(tmp_path / "m")])
    script.main()
    assert capsys.readouterr().out == f"{tmp_path / 'm'}\n"


# -- model.py, in this process. The server hands it a module that only exists inside its backend; what stands in for it
# -- here does no more than carry arrays, and text as the bytes that Triton's own client makes of it.


class Tensor:
    def __init__(self, name, array):
        self._name, self._array = name, array
        if array.dtype == np.object_ and array.size:
            packed = serialize_byte_tensor(array).item()
            self._array = deserialize_bytes_tensor(packed).reshape(array.shape)

    def name(self):
        return self._name

    def as_numpy(self):
        return self._array


class InferenceRequest:
    def __init__(self, inputs):
        self._inputs = [Tensor(name, array) for name, array in inputs.items()]

    def inputs(self):
        return self._inputs


class InferenceResponse:
    def __init__(self, output_tensors=(), error=None):
        self.outputs = {tensor.name(): tensor.as_numpy() for tensor in output_tensors}
        self.error = error


class TritonError:
    INTERNAL, INVALID_ARG = "internal", "invalid argument"

    def __init__(self, message, code):
        self.message, self.code = message, code


@pytest.fixture
def start(monkeypatch, repository_of):
    """Loads model.py from a repository and initializes it as the server does."""
    stand_in = types.SimpleNamespace(
        Tensor=Tensor,
        InferenceResponse=InferenceResponse,
        TritonError=TritonError,
        triton_string_to_numpy=lambda name: triton_to_np_dtype(name[5:].replace("STRING", "BYTES")),
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stand_in)
    with contextlib.ExitStack() as stack:

        def start(repository, **arguments):
            folder = repository / "trbert"
            config = config_of(folder)
            declared = [{"name": o.name, "data_type": DataType.Name(o.data_type)} for o in config.output]
            model = load(folder / "1" / "model.py", "model").TritonPythonModel()
            model.initialize(
                {
                    "model_config": json.dumps({"max_batch_size": config.max_batch_size, "output": declared}),
                    "model_repository": str(folder),
                    "model_version": "1",
                    "model_instance_kind": "CPU",
                    "model_instance_device_id": "0",
                    **arguments,
                }
            )
            stack.callback(model.finalize)
            return model, config

        yield start


@pytest.mark.parametrize("task", list(REQUESTS))
def test_text_is_answered_like_the_reference(start, repository_of, bundle_of, task):
    model, config = start(repository_of(task))
    requests = [InferenceRequest(text_inputs(items)) for items in REQUESTS[task]]
    for response, items in zip(model.execute(requests), REQUESTS[task], strict=True):
        assert response.error is None
        assert_answers(response.outputs, reference(bundle_of(task), items), config.output)
        assert {"token_count", "kept"} < response.outputs.keys()
        assert {key for item in items for key in item} <= {value.name for value in config.input}


@pytest.mark.parametrize("task", TASKS)
def test_token_ids_are_answered_like_the_reference(start, repository_of, bundle_of, id_requests, task):
    model, config = start(repository_of(task))
    arrays, items = id_requests(task)
    assert {name for request in arrays for name in request} <= {value.name for value in config.input}
    for request in arrays:
        if "question_ends" in request:  # the server reshapes
            request["question_ends"] = request["question_ends"][:, 0]
    responses = model.execute([InferenceRequest(request) for request in arrays])
    for response, rows in zip(responses, items, strict=True):
        assert response.error is None
        assert_answers(response.outputs, reference(bundle_of(task), rows), config.output)


def test_a_regressor_has_a_score_and_no_labels(start, repository_of, bundle_of):
    model, config = start(repository_of("sequence-classification", num_labels=1))
    assert [value.name for value in config.output] == ["score", "token_count", "kept", "answer_json"]
    (response,) = model.execute([InferenceRequest(text_inputs([{"text": "bad"}]))])
    wanted = reference(bundle_of("sequence-classification", num_labels=1), ["bad"])
    assert_answers(response.outputs, wanted, config.output)


def test_bad_requests_fail_alone_and_say_why(start, repository_of, bundle_of):
    model, config = start(repository_of("sequence-classification"))
    good = text_inputs([{"text": "a"}, {"text": "bad"}])
    latin = np.array([["caf\xe9".encode("latin-1")]], dtype=np.object_)
    ids = np.array([[2, 119, 120]])
    responses = model.execute(
        [
            InferenceRequest(request)
            for request in (good, {"text": latin}, {"input_ids": ids}, {**good, "input_ids": ids[[0, 0]]}, good)
        ]
    )
    for response in (responses[0], responses[-1]):
        assert response.error is None
        assert_answers(response.outputs, reference(bundle_of("sequence-classification"), ["a", "bad"]), config.output)
    assert {response.error.code for response in responses[1:-1]} == {TritonError.INVALID_ARG}
    errors = [response.error.message for response in responses[1:-1]]
    assert "not valid UTF-8" in errors[0]
    assert "item 0: input_ids[0, 2] is 120" in errors[1]
    assert "either text or token ids" in errors[2]
    assert not any(response.outputs for response in responses[1:-1])


def test_a_bundle_that_does_not_prove_itself_is_not_served(start, repository_of, tmp_path):
    shutil.copytree(repository_of("question-answering"), tmp_path / "m")
    folder = tmp_path / "m" / "trbert" / "1" / "bundle"
    golden = json.loads((folder / "golden.json").read_text())
    golden["batches"][0]["outputs"]["start_logits"][0][0] += 1
    (folder / "golden.json").write_text(json.dumps(golden))
    with pytest.raises(BundleError, match=r"golden\.json"):
        start(tmp_path / "m")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden.json"] = {
        "sha256": sha256_of(folder / "golden.json"),
        "bytes": (folder / "golden.json").stat().st_size,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckFailedError, match="start_logits differs"):
        start(tmp_path / "m")


def test_a_second_gpu_is_refused(start, repository_of):
    with pytest.raises(DeviceError, match="GPU 0"):
        start(repository_of("wikihop"), model_instance_kind="GPU", model_instance_device_id="1")


# -- the real server: the tritonserver of nvidia-pytriton (pip install --no-deps nvidia-pytriton). TRITON_PYTHON is a
# -- Python of a virtual environment with this package and numpy 1.26, which that server needs (see the README). Its
# -- onnxruntime backend is not on PyPI; where TRITON_ONNXRUNTIME_BACKEND names a folder with one
# -- (libtriton_onnxruntime.so), the graph is served as well.


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
