"""Requests to Triton, and its answers against the reference's."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig
from tritonclient.utils import triton_to_np_dtype

import trbert_deploy
from trbert_deploy.bundle import Bundle
from trbert_deploy.calib_data import evaluation_file
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


def load(file: Path, name: str) -> Any:
    """A script as a module of that name."""
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load(FOLDER / "make_repository.py", "make_repository")


def config_of(folder: Path) -> ModelConfig:
    """A model's configuration, as Triton reads it."""
    return text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), ModelConfig())


def text_inputs(items: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """A request of these items: for each key an array [B, 1], of choices [B, choices]."""
    return {
        key: np.array([np.atleast_1d(np.array(item[key], dtype=np.object_)) for item in items], dtype=np.object_)
        for key in items[0]
    }


def reference(bundle: Bundle, items: Sequence[Any]) -> list[dict[str, Any]]:
    """What PyTorch answers."""
    with trbert_deploy.load(bundle, runtime="torch") as engine:
        return engine.predict(items)


def assert_answers(
    outputs: Mapping[str, np.ndarray], answers: Sequence[Mapping[str, Any]], declared: Sequence[Any]
) -> None:
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


def _approximately(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _approximately(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_approximately(part) for part in value]
    return pytest.approx(value, abs=1e-4) if isinstance(value, float) else value
