"""examples/triton: model.py against PyTorch, in this process.

The server hands it a module that only exists inside its backend; what stands in for it here does no more than carry
arrays, and text as the bytes that Triton's own client makes of it.
"""

import contextlib
import json
import shutil
import sys
import types

import numpy as np
import pytest
from triton_requests import REQUESTS, TASKS, assert_answers, config_of, load, reference, text_inputs
from tritonclient.grpc.model_config_pb2 import DataType
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

from trbert_deploy.bundle.reader import sha256_of
from trbert_deploy.core.errors import BundleError, CheckFailedError, DeviceError


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
