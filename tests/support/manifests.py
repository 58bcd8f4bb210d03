"""Manifests as JSON, valid, to be changed by tests: of today's schema and of the first."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trbert_deploy.bundle import SCHEMA_VERSION, Manifest
from trbert_deploy.bundle.schema_1 import from_schema_1
from trbert_deploy.tasks import TASKS, Limits

FILES = {"stage_0.onnx": b"first", "stage_1.onnx": b"second", "model.onnx": b"fused", "golden.json": b"{}"}
LIMITS = Limits(max_length=512, vocab_size=30522, token_types=2)


def schema_1(task: str = "sequence-classification") -> dict[str, Any]:
    """A manifest of schema 1.1: one reduction, a budget."""
    multiple = task == "multiple-choice"
    spec = TASKS.get(task).spec(LIMITS)
    names = [one.name for one in spec.inputs]
    answers = [one.name for one in spec.outputs]
    return {
        "schema_version": "1.1",
        "task": task,
        "model": {
            "source": "model",
            "source_class": "AUTOBertForSequenceClassification",
            "model_class": "TRBertForSequenceClassification",
            "backbone": "bert",
            "num_layers": 12,
            "hidden_size": 768,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "selector_size": 32,
            "parameters": 110_000_000,
            "labels": ["negative", "positive"],
        },
        "reduction_layers": [6],
        "selection": {"mode": "budget", "keep": [0.4]},
        "precision": "fp32",
        "quantization": None,
        "opset": 20,
        "outputs": answers,
        "limits": {"max_length": 512, "vocab_size": 30522, "token_types": 2},
        "stages": [
            {
                "file": "stage_0.onnx",
                "inputs": ["input_ids", "attention_mask", "token_type_ids", "budget", *(["question_ends"] * multiple)],
                "outputs": ["next_hidden_states", "next_keep_mask", "keep_count"],
            },
            {
                "file": "stage_1.onnx",
                "inputs": ["hidden_states", "keep_mask", "rows", "keep", *names[3:]],
                "outputs": answers,
            },
        ],
        "fused": {"file": "model.onnx", "inputs": names, "outputs": [*answers, "keep_mask_1"]},
        "dense": None,
        "tokenizer": None,
        "golden": "golden.json",
        "reference": None,
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in FILES.items()
        },
        "created": "2025-01-01T00:00:00+00:00",
        "environment": {"python": "3.11.2"},
    }


def schema_2(task: str = "sequence-classification") -> dict[str, Any]:
    """The same of today's schema."""
    made = from_schema_1(schema_1(task)) | {"schema_version": SCHEMA_VERSION}
    made["task"] = asdict(TASKS.get(task).spec(LIMITS))
    return Manifest.model_validate(made).model_dump(mode="json")


def changed(facts: Mapping[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with one value replaced, added, or left out where the value is ..."""
    raw = copy.deepcopy(dict(facts))
    place: Any = raw
    *parents, last = path.split(".")
    for part in parents:
        place = place[int(part) if isinstance(place, list) else part]
    key = int(last) if isinstance(place, list) else last
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return raw


def write(folder: Path, raw: object) -> Path:
    """Write a bundle's folder with that manifest, whose files hold what `FILES` says."""
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(raw), encoding="utf-8")
    return folder
