"""The Python package computes what the conformance vectors in spec/ say; the C++ tests read the same files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from trbert_deploy.bundle.manifest import TokenizerFacts
from trbert_deploy.core import strict_json
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.grouping import group_rows
from trbert_deploy.core.selection import budget, budget_counts, kept_positions
from trbert_deploy.core.spec_checks import check_task
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.model.compaction import keep_by_budget, keep_by_policy
from trbert_deploy.runtimes.profiles import choose_profile, stage_profiles
from trbert_deploy.runtimes.shape_buckets import (
    ShapeBuckets,
    doubling_buckets,
    round_up,
    round_up_counts,
    round_up_rows,
)
from trbert_deploy.text.decoding import decode
from trbert_deploy.text.items import read_item
from trbert_deploy.text.rows import Row
from trbert_deploy.text.tokenizer import BundleTokenizer

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "spec"


def read(name):
    return json.loads((SPEC / f"{name}.json").read_text(encoding="utf-8"))


def cases(name, part="cases"):
    return [pytest.param(case, id=str(number)) for number, case in enumerate(read(name)[part])]


def task_of(name, case):
    task = TypeAdapter(TaskSpec).validate_python(read(name)["tasks"][case["task"]])
    check_task(task)
    return task


def is_refused(read, text):
    try:
        read(text)
    except ValueError:
        return True
    return False


def lists(arrays):
    return {name: array.tolist() for name, array in arrays.items()}


def test_the_files_are_what_the_command_writes():
    words = [sys.executable, SPEC / "write.py", "--check"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_json_texts():
    file = read("json_texts")
    for text in file["read"]:
        assert strict_json.loads(text) == json.loads(text)
    assert all(is_refused(strict_json.loads, text) for text in file["refused"])


@pytest.mark.parametrize("case", cases("specs"))
def test_specs(case):
    """Changes of one place: `add` and `remove` of a JSON Patch (RFC 6902)."""
    task = read("specs")["tasks"][case["task"]]
    (operation,) = case["patch"]
    *folders, last = operation["path"].removeprefix("/").split("/")
    place = task
    for name in folders:
        place = place[int(name) if isinstance(place, list) else name]
    if operation["op"] == "remove":
        del place[last]
    elif last == "-":
        place.append(operation["value"])
    else:
        place[int(last) if isinstance(place, list) else last] = operation["value"]

    def read_and_check(text):
        check_task(TypeAdapter(TaskSpec).validate_json(text, strict=True))

    assert is_refused(read_and_check, json.dumps(task)) is not case["accepted"]


@pytest.mark.parametrize("case", cases("grouping"))
def test_groups(case):
    counts = np.array(case["counts"])
    options = {name: case[name] for name in ("sequences", "overhead_tokens", "max_rows")}
    groups = group_rows(counts, **options)
    assert [group.tolist() for group in groups] == case["groups"]
    assert sorted(row for group in case["groups"] for row in group) == list(range(len(counts)))


@pytest.mark.parametrize("case", cases("budget"))
def test_budgets(case):
    lengths = np.array(case["lengths"])
    protected = None if case["protected_from"] is None else np.array(case["protected_from"])
    assert budget(lengths, case["fraction"]).tolist() == case["budget"]
    assert budget_counts(lengths, case["fraction"], protected).tolist() == case["counts"]


@pytest.mark.parametrize("case", cases("selection", "selections"))
def test_selections(case):
    """By the functions that the graphs are traced from."""
    scores = torch.tensor([case["scores"]], dtype=torch.float32)
    candidates, protected = (torch.tensor([case[name]], dtype=torch.bool) for name in ("candidates", "protected"))
    if case["budget"] is None:
        mask = keep_by_policy(scores, candidates, protected)
    else:
        mask = keep_by_budget(scores, candidates, protected, torch.tensor([case["budget"]]))
    assert mask.long()[0].tolist() == case["keep_mask"]


@pytest.mark.parametrize("case", cases("selection", "chains"))
def test_kept_positions(case):
    masks = [np.array(mask) for mask in case["keep_masks"]]
    assert [positions.tolist() for positions in kept_positions(masks, case["full_length"])] == case["kept"]


def test_shape_buckets():
    file = read("shape_buckets")
    for case in file["doubling"]:
        assert list(doubling_buckets(case["largest"])) == case["buckets"]
    for case in file["rounded"]:
        size, buckets, rounded = case["size"], case["buckets"], case["rounded"]
        assert round_up(size, buckets) == rounded
        assert round_up_counts(np.array([size]), buckets).tolist() == [size if rounded is None else rounded]
    for case in file["rows"]:
        assert round_up_rows(case["rows"], case["largest"]) == case["rounded"]


def test_profiles():
    file = read("shape_buckets")
    made = []
    for case in file["profiles"]:
        shapes = ShapeBuckets(**case["shapes"])
        made.append(stage_profiles(shapes, case["stage"], full_length=case["full_length"], own=case["own"]))
        given = [profile.model_dump(mode="json")["axes"] for profile in made[-1]]
        assert json.dumps(given) == json.dumps(case["profiles"])  # the order of axes counts
    for case in file["choices"]:
        assert choose_profile(made[1], case["sizes"]) == case["profile"]


@pytest.mark.parametrize("case", cases("items"))
def test_items(case):
    task = task_of("items", case)
    if "refused" in case:
        with pytest.raises(InputError, match=re.escape(case["refused"])):
            read_item(task, case["item"], 0)
        return
    item = read_item(task, case["item"], 0)
    assert {key: list(texts) for key, texts in item.parts.items()} == case.get("parts", {})
    assert lists(item.arrays) == case.get("arrays", {})
    offsets = None if item.offsets is None else [entry and list(entry) for entry in item.offsets]
    assert offsets == case.get("offsets")
    if offsets is not None:
        assert item.context == case["context"]


@pytest.mark.parametrize("case", cases("encoding"))
def test_encoding(case):
    facts = TokenizerFacts(folder=".", onnx=None, max_length=case["room"])
    tokenizer = BundleTokenizer(SPEC, task_of("encoding", case), facts)
    if "refused" in case:
        with pytest.raises(InputError, match=re.escape(case["refused"])):
            tokenizer.encode([case["item"]])
        return
    (row,), wanted = tokenizer.encode([case["item"]]), case["row"]
    assert lists(row.arrays) == wanted["arrays"]
    assert (row.length, row.truncated, row.text) == (wanted["length"], wanted["truncated"], wanted["text"])
    assert (row.offsets and [entry and list(entry) for entry in row.offsets]) == wanted["offsets"]
    assert (row.empty, list(row.choices)) == (wanted["empty"], wanted["choices"])


def same(given, wanted):
    if isinstance(wanted, float):
        assert given == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    elif isinstance(wanted, dict):
        assert list(given) == list(wanted)  # the order of the keys too
        for key in wanted:
            same(given[key], wanted[key])
    elif isinstance(wanted, list):
        assert len(given) == len(wanted)
        for one, other in zip(given, wanted, strict=True):
            same(one, other)
    else:
        assert given == wanted


@pytest.mark.parametrize("case", cases("decoding"))
def test_decoding(case):
    task, facts = task_of("decoding", case), case["row"]
    arrays = {name: np.array(array) for name, array in facts["arrays"].items()}
    offsets = facts["offsets"] and [entry and tuple(entry) for entry in facts["offsets"]]
    row = Row(arrays, facts["length"], text=facts["text"], offsets=offsets, choices=tuple(facts["choices"]))
    outputs = {name: np.array(array, dtype=np.float32) for name, array in case["outputs"].items()}
    if "refused" in case:
        with pytest.raises(InputError, match=re.escape(case["refused"])):
            decode(task, case["labels"], row, outputs)
    else:
        same(decode(task, case["labels"], row, outputs), case["prediction"])
