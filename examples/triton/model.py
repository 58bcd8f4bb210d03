"""Triton's Python backend on a bundle: text or token ids in, trbert-deploy's staged engine, answers out.

`make_repository.py` copies this file into a model repository, beside the bundle and with a config.pbtxt whose inputs
are keys of an item (`trbert_deploy.text.items`) and whose outputs are keys of a prediction
(`trbert_deploy.text.decoding`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

import trbert_deploy
from trbert_deploy.core.errors import CheckFailedError, DeviceError, InputError, TRBertError
from trbert_deploy.verification import verify_engine

Rows = list[dict[str, Any]]


class TritonPythonModel:
    """One instance; the server runs it in a process of its own, one call at a time."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the bundle and replay its golden vectors: a model that answers otherwise here is not served."""
        config = json.loads(args["model_config"])
        on_gpu = args["model_instance_kind"] == "GPU"
        if on_gpu and args["model_instance_device_id"] != "0":
            raise DeviceError("the engine runs on GPU 0", "write gpus: [ 0 ] into instance_group")
        threads = config.get("parameters", {}).get("threads")
        self._engine = trbert_deploy.load(
            Path(args["model_repository"]) / args["model_version"] / "bundle",
            device="cuda" if on_gpu else "cpu",
            threads=int(threads["string_value"]) if threads else None,
            verify=True,
        )
        if complaints := verify_engine(self._engine).complaints:
            raise CheckFailedError("this machine does not give the reference's answers: " + "; ".join(complaints))
        text = self._engine.manifest.task.text
        self._list = text.each if text is not None else None
        self._batch_size = config["max_batch_size"]
        self._outputs = [
            (output["name"], pb_utils.triton_string_to_numpy(output["data_type"])) for output in config["output"]
        ]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all requests together: the engine sorts their rows by length. A bad request fails alone."""
        read = [self._read(request) for request in requests]
        answers = iter(self._answer([rows for rows in read if isinstance(rows, list)]))
        return [self._response(next(answers) if isinstance(rows, list) else rows) for rows in read]

    def finalize(self) -> None:
        """Let go of the sessions."""
        self._engine.close()

    def _read(self, request: Any) -> Rows | TRBertError:
        """The request's rows as items, or why it has none."""
        arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        if len({array.dtype == np.object_ for array in arrays.values()}) != 1:
            return InputError("a request holds either text or token ids", "leave the other inputs out")
        size = len(next(iter(arrays.values())))
        try:
            return [{name: self._part(name, array[row]) for name, array in arrays.items()} for row in range(size)]
        except UnicodeDecodeError as error:
            return InputError(f"a text is not valid UTF-8: {error}", "encode it as UTF-8")

    def _part(self, name: str, value: Any) -> Any:
        """A part of an item: token ids as they are, a text, or the texts of the part that is a list."""
        if value.dtype != np.object_:
            return value
        texts = [text.decode() for text in value]
        return texts if name == self._list else texts[0]

    def _answer(self, requests: list[Rows]) -> list[Rows | TRBertError]:
        try:
            answers = self._engine.predict((row for rows in requests for row in rows), batch_size=self._batch_size)
        except TRBertError as error:
            if len(requests) == 1:
                return [error]
            return [answer for rows in requests for answer in self._answer([rows])]
        rest = iter(answers)
        return [[next(rest) for _ in rows] for rows in requests]

    def _response(self, answers: Rows | TRBertError) -> Any:
        if isinstance(answers, TRBertError):
            kind = pb_utils.TritonError
            code = kind.INVALID_ARG if isinstance(answers, InputError) else kind.INTERNAL
            return pb_utils.InferenceResponse(error=kind(str(answers), code))
        tensors = []
        for name, dtype in self._outputs:
            values = [_value(name, answer) for answer in answers]
            if all(value is not None for value in values):  # e.g. no text of an answer where the text is not known
                tensors.append(pb_utils.Tensor(name, np.array(values, dtype=dtype).reshape(len(answers), -1)))
        return pb_utils.InferenceResponse(output_tensors=tensors)


def _value(name: str, answer: dict[str, Any]) -> Any:
    if name == "answer_json":
        return json.dumps(answer, ensure_ascii=False)
    value = answer.get(name)
    return list(value.values()) if isinstance(value, dict) else value
