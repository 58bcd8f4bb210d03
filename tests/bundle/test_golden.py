"""Golden vectors that would prove nothing, or break the replay: errors of ours that name the file and the field."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trbert_deploy.api import load
from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.bundle.golden import Golden, GoldenBatch, read_golden, write_golden
from trbert_deploy.bundle.precision import TOLERANCES
from trbert_deploy.core.errors import BundleError
from trbert_deploy.verification import verify_engine

NAME = "bert-hotpot-question-answering"


@pytest.fixture
def bundle(golden_bundle, tmp_path) -> Bundle:
    return open_bundle(shutil.copytree(golden_bundle(NAME), tmp_path / "bundle"))


@pytest.fixture
def facts(bundle) -> dict[str, Any]:
    return json.loads(bundle.path("golden.json").read_text(encoding="utf-8"))


def changed(facts: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    raw = copy.deepcopy(facts)
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


def test_what_export_writes_is_read(bundle, facts):
    golden = read_golden(bundle)
    assert golden.tolerance == TOLERANCES["fp32"].outputs
    assert [batch.inputs for batch in golden.batches] == [batch["inputs"] for batch in facts["batches"]]


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("schema_version", "2.0", "schema_version: String should match"),
        ("schema_version", "².0", "schema_version: String should match"),
        ("tolerance", ..., "tolerance: Field required"),
        ("tolerance", "1e-4", "tolerance: Input should be a valid number"),
        ("tolerance", -1e-4, "tolerance: Input should be greater than or equal to 0"),
        ("tolerance", 1e300, r"tolerance is 1e\+300, more than the 0.0001 that fp32 allows"),
        ("tolerance", 2e-4, "tolerance is 0.0002, more than the 0.0001"),
        ("max_flips", 0.5, "max_flips is 0.5, more than the 0 that fp32 allows"),
        ("batches", [], "batches: List should have at least 1 item"),
        ("batches", {}, "batches: Input should be a valid array"),
        ("batches.1", [], "batches.1: Input should be an object"),
        ("batches.1.inputs", ..., "batches.1.inputs: Field required"),
        ("batches.1.inputs", {}, "batches.1: task hotpot needs input_ids"),
        ("batches.1.inputs.input_ids", ..., "batches.1: task hotpot needs input_ids"),
        ("batches.1.inputs.input_ids.0.2", 10**6, r"batches.1: input_ids\[0, 2\] is 1000000"),
        ("batches.1.inputs.attention_mask.0", [1], "batches.1: attention_mask is"),
        ("batches.1.inputs.more", [1], "batches.1: task hotpot takes no more"),
        ("batches.1.kept", ..., "batches.1.kept: Field required"),
        ("batches.1.kept", [], "batches.1: kept sets are wanted for 2 reductions of 1 rows each, not for none"),
        ("batches.1.kept.1", [], "batches.1: kept sets are wanted for 2 reductions"),
        ("batches.1.kept.1.0", [], "batches.1: row 0, reduction 1: kept positions"),
        ("batches.1.kept.0.0.0", 1.5, "batches.1.kept.0.0.0: Input should be a valid integer"),
        ("batches.1.kept.0.0", [0, 10**6], "batches.1: row 0, reduction 0: kept positions"),
        ("batches.1.outputs", ..., "batches.1.outputs: Field required"),
        ("batches.1.outputs.switch_logits", ..., "batches.1.outputs.switch_logits is missing"),
        ("batches.1.outputs.switch_logits", None, "batches.1.outputs.switch_logits is missing"),
        ("batches.1.outputs.switch_logits", {"a": 1}, "batches.1.outputs.switch_logits must hold numbers"),
        ("batches.1.outputs.switch_logits.0", [1, 2], "switch_logits is of shape .1, 2., which does not fit"),
        ("batches.1.outputs.switch_logits.0.1", None, "batches.1.outputs.switch_logits must hold numbers"),
        ("batches.1.outputs.switch_logits.0.1", "1", "batches.1.outputs.switch_logits must hold numbers"),
        ("batches.1.outputs.switch_logits.0.1", 1e39, "switch_logits holds a number that float32 cannot"),
        ("batches.1.outputs.start_logits.0.1", [], "batches.1.outputs.start_logits is not a rectangular array"),
        ("batches.1.outputs.start_logits.0.1", ..., "batches.1.outputs.start_logits is of shape"),
        ("batches.1.outputs.sent_logits.0.0.1", ..., "batches.1.outputs.sent_logits is"),
    ],
)
def test_missing_ragged_and_meaningless_parts(bundle, facts, path, value, what):
    bundle.path("golden.json").write_text(json.dumps(changed(facts, path, value)), encoding="utf-8")
    with pytest.raises(BundleError, match=rf"golden\.json holds no golden vectors: .*{what}"):
        read_golden(bundle)


@pytest.mark.parametrize("number", ["Infinity", "NaN", "1e999", "9" * 5000])
def test_a_tolerance_that_json_does_not_have(bundle, facts, number):
    text = json.dumps(facts | {"tolerance": "HERE"}).replace('"HERE"', number)
    bundle.path("golden.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"golden\.json holds no golden vectors: (the|NaN|Infinity)"):
        read_golden(bundle)


def test_nested_ten_thousand_deep(bundle):
    bundle.path("golden.json").write_text('{"batches": ' + "[" * 10_000, encoding="utf-8")
    with pytest.raises(BundleError, match="nested more than 64 deep"):
        read_golden(bundle)


def test_a_file_that_is_not_there(bundle):
    bundle.path("golden.json").unlink()
    with pytest.raises(BundleError, match=r"golden\.json cannot be read: No such file"):
        read_golden(bundle)


def test_verify_does_not_pass_on_vectors_that_anything_passes(bundle, facts):
    batch = facts["batches"][0]
    batch["outputs"]["switch_logits"][0][0] += 1
    write(bundle, facts | {"tolerance": 1e300})
    with load(bundle, verify=False) as engine, pytest.raises(BundleError, match="tolerance is 1e"):
        verify_engine(engine)
    write(bundle, facts)
    with load(bundle, verify=False) as engine:
        assert "switch_logits differs by" in verify_engine(engine).complaints[0]


def write(bundle: Bundle, facts: dict[str, Any]) -> None:
    bundle.path("golden.json").write_text(json.dumps(facts), encoding="utf-8")


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path):
    batch = GoldenBatch(inputs={}, kept=[], outputs={"logits": [float(np.float32("nan"))]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_golden(Golden(tolerance=1e-4, batches=[batch]), tmp_path / "golden.json")
