"""The manifest's schema and what it refuses, of both versions."""

from __future__ import annotations

import json

import jsonschema
import pytest
from manifests import changed, schema_1, schema_2, write
from pydantic import ValidationError

from trbert_deploy.bundle import Manifest, open_bundle
from trbert_deploy.bundle.manifest import schema
from trbert_deploy.core.errors import BundleError
from trbert_deploy.tasks import TASKS

INVALID = [
    ("task", ...),
    ("task.inputs", []),
    ("task.inputs.0.axes", "batch"),
    ("task.outputs.0.padding", None),
    ("task.max_length", "512"),
    ("task.max_length", 512.5),
    ("task.text.truncation", "shortest_first"),
    ("task.decoding.kind", ...),
    ("model.num_layers", 0),
    ("model.num_layers", True),
    ("model.num_layers", 2**40),
    ("model.labels", "positive"),
    ("reduction.layers", ["1"]),
    ("reduction.mode", "random"),
    ("reduction.fractions", [0.4, "x"]),
    ("precision", "fp7"),
    ("stages", []),
    ("stages.0.inputs", ...),
    ("stages.0.inputs.0.name", 1),
    ("fused", None),
    ("files", ["stage_0.onnx"]),
    ("environment", None),
    ("schema_version", "2"),
    ("schema_version", 2.0),
]

INVALID_1 = [
    ("task", ...),
    ("task", "no-such-task"),
    ("task", ["sequence-classification"]),
    ("model", 3),
    ("model.num_layers", 0),
    ("model.num_layers", 2**40),
    ("model.labels", "positive"),
    ("model.hidden_size", "768"),
    ("reduction_layers", ["1"]),
    ("reduction_layers", None),
    ("selection", ...),
    ("selection.mode", "random"),
    ("selection.keep", [0.4, "x"]),
    ("precision", "fp7"),
    ("limits.max_length", 0),
    ("limits.token_types", "two"),
    ("limits.vocab_size", ...),
    ("stages", []),
    ("stages", 7),
    ("stages.0", None),
    ("stages.0.inputs", ...),
    ("stages.0.outputs", ["next_nonsense", "keep_count"]),
    ("fused", None),
    ("dense", []),
    ("files", ["stage_0.onnx"]),
]

CONTRADICTIONS = [
    ("stages.0.outputs.2.name", "count", "stage_0.onnx gives no keep_count"),
    ("stages.0.outputs.1.name", "keep_mask", "stage_0.onnx gives no next_keep_mask"),
    ("stages.0.outputs.1.name", "keep_count", "two tensors of one name"),
    ("stages.1.inputs.0.name", "states", "stage_1.onnx takes states, which nothing gives it"),
    ("stages.1.inputs.0.name", "budget", "stage_1.onnx takes budget, which nothing gives it"),
    ("stages.1.outputs.0.name", "answers", "stage_1.onnx gives no logits"),
    ("stages.1.outputs.0.dtype", "float32; drop", "unknown type"),
    ("fused.outputs.1.name", "mask", "model.onnx gives no keep_mask_1"),
    ("stages", lambda m: m["stages"] * 2, "4 stages do not fit 1 reductions"),
    ("dense", lambda m: m["fused"], r"model.onnx gives logits, keep_mask_1, the task has logits alone"),
    ("reduction.fractions", [-3.0], "reduction: fractions must lie in"),
    ("reduction.fractions", [0.0], "reduction: fractions must lie in"),
    ("reduction.fractions", [1e-9], "reduction: fractions must lie in"),
    ("reduction.fractions", [1.5], "reduction: fractions must lie in"),
    ("reduction.fractions", [0.4, 0.2], "2 fractions do not fit"),
    ("reduction.mode", "policy", "1 fractions do not fit"),
    ("reduction.layers", [12], "reduction: layers must ascend and be the model's"),
    ("reduction.layers", [5], "costs: reduction_layers"),
    ("precision", "int8", "quantization is said of int8 bundles"),
    ("task.max_length", 0, "max_length must lie in 1 to"),
]


def _undescribed(name, part):
    """Fields of a schema's part that nothing is said of, but those that are parts themselves."""
    return [f"{name}.{field}" for field, facts in part.get("properties", {}).items() if "description" not in facts]


def test_every_field_of_the_schema_is_described():
    whole = schema()
    parts = {"Manifest": whole, **whole["$defs"]}
    lacking = {field for name, part in parts.items() for field in _undescribed(name, part)}
    assert lacking == set()


def test_the_schema_is_a_json_schema_that_takes_what_the_reader_takes():
    published, facts = json.loads(json.dumps(schema())), schema_2()
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(facts, published)
    assert published["$schema"].endswith("2020-12/schema")
    read = Manifest.model_validate_json(json.dumps(facts), strict=True)
    jsonschema.validate(read.model_dump(mode="json"), published)
    assert read.model_dump(mode="json") == facts


@pytest.mark.parametrize(("path", "value"), INVALID)
def test_schema_and_reader_refuse_alike_and_name_the_field(path, value, tmp_path):
    raw = changed(schema_2(), path, value)
    whole = path == "task.inputs"  # JSON Schema cannot say that two inputs are always there
    if not whole:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(raw, schema())
    with pytest.raises(
        BundleError, match=r"manifest\.json (does not follow the schema|has no schema_version)"
    ) as caught:
        open_bundle(write(tmp_path, raw))
    assert path.rpartition(".")[2] in caught.value.message or path.rpartition(".")[2].isdigit() or whole
    assert "trbert-deploy export" in caught.value.hint


@pytest.mark.parametrize(("path", "value"), INVALID_1)
def test_what_breaks_the_first_schema(path, value, tmp_path):
    with pytest.raises(BundleError, match=r"manifest\.json does not follow the schema: ."):
        open_bundle(write(tmp_path, changed(schema_1(), path, value)))


@pytest.mark.parametrize(("path", "value", "what"), CONTRADICTIONS)
def test_what_contradicts_itself(path, value, what, tmp_path):
    facts = schema_2()
    raw = changed(facts, path, value(facts) if callable(value) else value)
    with pytest.raises(BundleError, match=what):
        open_bundle(write(tmp_path, raw))


@pytest.mark.parametrize("keep", [[-3], [0], [1e300], [0.4, 0.4], []])
def test_budgets_of_the_first_schema(keep, tmp_path):
    with pytest.raises(BundleError, match=r"fractions"):
        open_bundle(write(tmp_path, changed(schema_1(), "selection.keep", keep)))


def test_stages_without_keep_count(tmp_path):
    raw = changed(schema_1(), "stages.0.outputs", ["next_hidden_states", "next_keep_mask"])
    with pytest.raises(BundleError, match=r"stage_0\.onnx gives no keep_count"):
        open_bundle(write(tmp_path, raw))


@pytest.mark.parametrize("task", [name for name in TASKS.names() if "mean" not in name])
def test_every_task_of_both_versions(task, tmp_path):
    first = open_bundle(write(tmp_path, schema_1(task))).manifest
    second = open_bundle(write(tmp_path, schema_2(task))).manifest
    assert first.task == second.task
    assert first.stages == second.stages


QUANTIZATION = {
    "form": "cpu",
    "calibration": "rows.jsonl",
    "calibration_rows": 64,
    "fp32_layers": [3],
    "sensitivity": "sensitivity.json",
}


def test_int8_says_how_and_nothing_else_does():
    raw = schema_2() | {"precision": "int8", "quantization": QUANTIZATION}
    jsonschema.validate(raw, schema())
    assert Manifest.model_validate(raw).quantization.fp32_layers == [3]
    for wrong in ({"precision": "int8"}, {"quantization": QUANTIZATION}):
        with pytest.raises(ValidationError, match="quantization is said of int8 bundles"):
            Manifest.model_validate(schema_2() | wrong)


def test_a_sensitivity_report_that_is_not_there(tmp_path):
    write(tmp_path, schema_2() | {"precision": "int8", "quantization": QUANTIZATION})
    with pytest.raises(BundleError, match=r"refers to sensitivity\.json, which is not among its files"):
        open_bundle(tmp_path)
