"""The C++ engine answers as the Python engine does: kept positions equal, outputs within 1e-5."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

import trbert_deploy
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.text.json_lines import read_json_lines

ROOT = Path(__file__).parents[2]
BUDGETS = ["bert-multiple-choice", "bert-wikihop"]  # tests/test_main_job.py needs the same bundles: exported once
OLD_BUNDLES = [path.parent for path in sorted((ROOT / "tests" / "fixtures" / "schema_1").glob("*/manifest.json"))]
REVIEWS = list(read_json_lines(evaluation_file()))[:40]


def assert_same(given, wanted, within=1e-5):
    outputs, kept = given
    assert kept == [[row.tolist() for row in step] for step in wanted.selection]
    assert outputs.keys() == wanted.keys()
    for name, array in wanted.items():
        assert outputs[name].shape == array.shape
        np.testing.assert_allclose(outputs[name], array, rtol=0, atol=within)


def compare(bundle, cpp_engine, rows, batch_of, modes=("staged", "fused", "dense")):
    """Each row alone, and all together in two orders, wider than the widest."""
    widest = max(row["input_ids"].shape[-1] for row in rows)
    batches = [*rows, batch_of(rows), batch_of(rows[::-1], width=widest + 3)]
    for mode in modes:
        ours = cpp_engine(bundle, mode)
        with trbert_deploy.load(bundle, mode=mode) as python:
            for batch in batches:
                names = [output.name for output in python.manifest.task.outputs]
                assert_same(ours.run(batch, names), python.run(**batch, return_selection=True))


@pytest.mark.parametrize("bundle", OLD_BUNDLES, ids=lambda folder: folder.name)
def test_bundles_of_schema_1(bundle, cpp_engine):
    golden = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))
    batches = [{name: np.array(value) for name, value in batch["inputs"].items()} for batch in golden["batches"]]
    for mode in ("staged", "fused"):
        ours = cpp_engine(bundle, mode)
        ours.verify()
        with trbert_deploy.load(bundle, mode=mode) as python:
            names = [output.name for output in python.manifest.task.outputs]
            for batch in batches:
                assert_same(ours.run(batch, names), python.run(**batch, return_selection=True))


def golden_and_random_rows(case, random_rows):
    rows = [row.inputs for row in case.rows]
    own = random_rows(case.model, [60, 3, 57, 1, 2, 60, 31, 5], options=rows[0]["input_ids"].shape[1])
    return [*rows, *[{name: row[name] for name in rows[0] if name in row} for row in own]]


def test_every_golden_checkpoint(golden_name, golden, golden_bundle, cpp_engine, batch_of, random_rows):
    rows = golden_and_random_rows(golden(golden_name), random_rows)
    compare(golden_bundle(golden_name), cpp_engine, rows, batch_of)


@pytest.mark.parametrize("name", BUDGETS)
def test_budgets(name, golden, golden_bundle, cpp_engine, batch_of, random_rows):
    rows = golden_and_random_rows(golden(name), random_rows)
    compare(golden_bundle(name, keep="0.5,0.2"), cpp_engine, rows, batch_of)


def test_upstreams_recorded_answers(golden_name, golden, golden_bundle, cpp_engine):
    engine = cpp_engine(golden_bundle(golden_name), "staged")
    for row in golden(golden_name).rows:
        outputs, kept = engine.run(row.inputs, list(row.outputs))
        for name, wanted in row.outputs.items():
            np.testing.assert_allclose(outputs[name], wanted, rtol=0, atol=1e-4)
        if row.kept is not None:
            assert [step[0] for step in kept[: len(row.kept)]] == row.kept


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_it_proves_itself(golden_name, golden_bundle, cpp_engine, mode):
    cpp_engine(golden_bundle(golden_name), mode).verify()


def same_json(given, wanted, within=1e-5):
    if isinstance(wanted, dict):
        assert list(given) == list(wanted)  # the order of the keys too
        for key in wanted:
            same_json(given[key], wanted[key], within)
    elif isinstance(wanted, list):
        assert len(given) == len(wanted)
        for one, other in zip(given, wanted, strict=True):
            same_json(one, other, within)
    elif isinstance(wanted, float):
        assert given == pytest.approx(wanted, abs=within)
    else:
        assert given == wanted


def text_items(task):
    texts = [review["text"] for review in REVIEWS]
    nasty = ["", "é" * 70, "e\u0301 ΣΑΣ [SEP] 日本語 😀\u200b", "x " * 400, "\x00"]
    if task == "question-answering":
        pairs = [(text[:20], text) for text in texts] + [("who?", text) for text in nasty]
        return [{"id": f"q{place}", "question": one, "context": other} for place, (one, other) in enumerate(pairs)]
    if task == "multiple-choice":
        choices = [["yes", "no"], ["a film", "nothing", "it was a good film"]]
        return [
            {"id": place, "context": text, "question": "what?", "choices": choices[place % 2]}
            for place, text in enumerate([*texts[:10], *nasty])
        ]
    items = [{"id": place, "text": text, "label": 1} for place, text in enumerate([*texts, *nasty])]
    if task == "sequence-classification":
        items += [
            {"text": one, "text_pair": other} for one, other in zip(texts[:9], [*nasty, *texts[9:13]], strict=True)
        ]
        items += [{"text": "no pair", "text_pair": None, "id": {"deep": [1, None, 2**64 - 1, -(2**63), 1e16]}}]
    return items


@pytest.mark.parametrize(
    ("task", "backbone"),
    [
        ("sequence-classification", "bert"),
        ("question-answering", "bert"),
        ("question-answering", "distilbert"),
        ("multiple-choice", "bert"),
        ("token-classification", "bert"),
    ],
)
def test_text(task, backbone, text_bundle, cpp_engine):
    bundle = text_bundle(task, backbone)
    items = text_items(task)
    ours = cpp_engine(bundle, "staged")
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    together = [json.loads(line) for line in ours.predict("\n".join(lines)).split("\n") if line]
    alone = [json.loads(ours.predict(line)) for line in lines]
    with trbert_deploy.load(bundle) as python:
        wanted = python.predict(items)
    assert any("truncated" in answer for answer in wanted)
    for one, other, answer in zip(together, alone, wanted, strict=True):
        same_json(one, answer)
        same_json(other, answer)


@pytest.fixture(scope="module")
def reviews_of_all_lengths():
    """A dozen reviews, cut so that rows of 7 to 512 tokens stand beside each other."""
    return [review["text"][: 30 + 260 * place] for place, review in enumerate(REVIEWS[:12])]


def test_the_shipped_model(shipped_bundle, cpp_engine, batch_of, reviews_of_all_lengths):
    with trbert_deploy.load(shipped_bundle) as python:
        encoded = python.tokenizer.encode([{"text": text} for text in reviews_of_all_lengths])
    rows = [{name: array[np.newaxis] for name, array in row.arrays.items()} for row in encoded]
    lengths = [row["input_ids"].size for row in rows]
    assert min(lengths) < 10
    assert max(lengths) == 512
    compare(shipped_bundle, cpp_engine, rows, batch_of, modes=("staged", "fused"))


def test_the_shipped_model_with_text(shipped_bundle, cpp_engine, reviews_of_all_lengths):
    items = [{"id": place, "text": text} for place, text in enumerate(reviews_of_all_lengths)]
    lines = [json.dumps(item) for item in items]
    with trbert_deploy.load(shipped_bundle) as python:
        wanted = python.predict(items)
    for mode in ("staged", "fused"):
        ours = cpp_engine(shipped_bundle, mode)
        together = [json.loads(line) for line in ours.predict("\n".join(lines)).splitlines()]
        alone = [json.loads(ours.predict(line)) for line in lines]
        for one, other, answer in zip(together, alone, wanted, strict=True):
            same_json(one, answer)
            same_json(other, answer)


def test_the_shipped_model_proves_itself(shipped_bundle, cpp_engine):
    for mode in ("staged", "fused"):
        cpp_engine(shipped_bundle, mode).verify()


TOKEN_ITEMS = {
    "bert-hotpot-question-answering": {"sentence_spans": [[0, 2], [3, 5], [-1, -1]]},
    "bert-wikihop": {"candidate_positions": [1, -1, 4]},
    "bert-question-answering": {"context": "añb c", "offsets": [None, None, [0, 2], [2, 3], [4, 5], None]},
    "distilbert-sequence-classification": {"token_type_ids": [0] * 6},
}


@pytest.mark.parametrize("name", TOKEN_ITEMS)
def test_items_of_token_ids(name, golden_bundle, cpp_engine):
    item = {"id": "x", "input_ids": [5, 9, 11, 7, 3, 6], **TOKEN_ITEMS[name]}
    items = [item, item | {"attention_mask": [1, 1, 1, 1, 1, 1]}]
    if name == "bert-wikihop":
        items.append(item | {"candidate_positions": []})
    if name == "bert-hotpot-question-answering":
        items.append(item | {"sentence_spans": []})
    ours = cpp_engine(golden_bundle(name), "staged").predict("".join(json.dumps(item) + "\n" for item in items))
    with trbert_deploy.load(golden_bundle(name)) as python:
        wanted = python.predict(items)
    for one, answer in zip(map(json.loads, ours.splitlines()), wanted, strict=True):
        same_json(one, answer)


def test_the_tool_answers_as_the_command(cpp, text_bundle, tmp_path):
    bundle = text_bundle("sequence-classification")
    data = tmp_path / "reviews.jsonl"
    data.write_text("\n".join(json.dumps(review) for review in REVIEWS), encoding="utf-8")
    with trbert_deploy.load(bundle) as python:
        wanted = python.predict(REVIEWS)
    for words, given in (
        (["--data", data, "--batch-size", "7"], None),
        (["--data", "-", "--mode", "fused", "--threads", "1", "--check-sha256"], data.read_bytes()),
        ([review["text"] for review in REVIEWS[:3]], None),
    ):
        result = subprocess.run([cpp.run, bundle, *words], input=given, capture_output=True, check=True)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        expected = wanted[:3] if "--threads" not in words and "--data" not in words else wanted
        if expected is not wanted:
            expected = [{key: value for key, value in answer.items() if key != "id"} for answer in expected]
        for one, answer in zip(lines, expected, strict=True):
            same_json(one, answer)
