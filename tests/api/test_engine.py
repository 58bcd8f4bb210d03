"""What an engine answers, from however many threads, and what it refuses to run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import trbert_deploy
from trbert_deploy.core.errors import DeviceError, InputError, TRBertError


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_many_threads_get_the_answers_of_one(bundle, mode):
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(24):
        lengths = rng.integers(1, 90, size=int(rng.integers(1, 9)))
        ids = rng.integers(0, 120, (len(lengths), int(lengths.max())))
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        batches.append({"input_ids": ids, "attention_mask": mask})
    with trbert_deploy.load(bundle, mode=mode) as engine, ThreadPoolExecutor(8) as pool:
        alone = [engine.run(**batch, return_selection=True) for batch in batches]
        together = list(pool.map(lambda batch: engine.run(**batch, return_selection=True), batches * 3))
    for wanted, given in zip(alone * 3, together, strict=True):
        np.testing.assert_array_equal(given["logits"], wanted["logits"])
        for wanted_rows, given_rows in zip(wanted.selection, given.selection, strict=True):
            assert [row.tolist() for row in given_rows] == [row.tolist() for row in wanted_rows]


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ([], "2 reductions of 1 rows each, not for none"),
        ([[[0, 2, 4]]], "2 reductions of 1 rows each, not for 1"),
        ([[[0, 2, 4]], [[0], [0]]], "not for 1, 2"),
        ([[[0, 2, 4]], [[0, 3]]], "row 0, reduction 1"),
        ([[[4, 2, 0]], [[0, 2]]], "row 0, reduction 0"),
        ([[[0, 6]], [[0]]], "row 0, reduction 0"),
        ([[[0, 2]], [[]]], "row 0, reduction 1"),
    ],
)
def test_kept_sets_that_no_selection_gives_are_not_replayed(bundle, kept, words):
    with trbert_deploy.load(bundle) as engine, pytest.raises(InputError, match=words):
        engine.replay(
            [[np.array(row, dtype=np.int64) for row in rows] for rows in kept], input_ids=[[5, 6, 7, 8, 9, 4]]
        )


def test_a_run_that_onnx_runtime_does_not_finish_is_an_error_of_ours(bundle):
    from trbert_deploy.bundle import open_bundle
    from trbert_deploy.runtimes.onnxruntime.sessions import SessionRunner

    opened = open_bundle(bundle)
    runner = SessionRunner(opened, opened.manifest.stages, "cpu", trbert_deploy.LoadOptions())
    beyond = {name: np.full((1, 4), 10**6) for name in opened.manifest.stages[0].input_names}
    with pytest.raises(DeviceError, match=r"ONNX Runtime failed in stage_0\.onnx on cpu: .*out of"):
        runner.run(0, beyond)
    runner.close()


def test_regrouping_changes_no_answer_and_no_order(bundle):
    from trbert_deploy.bundle import open_bundle
    from trbert_deploy.core.request import check_request
    from trbert_deploy.runtimes.onnxruntime.sessions import SessionRunner, SessionRuntime
    from trbert_deploy.runtimes.pipeline import group_by_count, make_pipeline

    opened = open_bundle(bundle)
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 96, size=64)
    ids = rng.integers(0, 120, (64, 96))
    mask = (np.arange(96) < lengths[:, None]).astype(np.int64)
    inputs = {"input_ids": ids, "attention_mask": mask}
    request = check_request(opened.manifest.task, inputs)

    def result_with(group):
        runner = SessionRunner(opened, opened.manifest.stages, "cpu", trbert_deploy.LoadOptions())
        runtime = SessionRuntime(runner, make_pipeline(opened, "staged", runner, group), "cpu")
        return runtime.run(request, want_kept=True)

    regrouped = result_with(group_by_count)
    plain = result_with(lambda stage, counts, sequences: [np.arange(len(counts))])
    assert plain.group_sizes == [[64], [64], [64]]
    assert len(regrouped.group_sizes[1]) > 1
    assert [sum(sizes) for sizes in regrouped.group_sizes] == [64, 64, 64]
    np.testing.assert_allclose(regrouped.outputs["logits"], plain.outputs["logits"], atol=1e-5, rtol=0)
    for with_groups, without in zip(regrouped.kept, plain.kept, strict=True):
        assert [row.tolist() for row in with_groups] == [row.tolist() for row in without]


def test_bad_input_is_refused_before_anything_runs(bundle):
    with trbert_deploy.load(bundle) as engine:
        with pytest.raises(InputError, match="97 tokens, the model takes 96"):
            engine.run(input_ids=np.ones((1, 97), dtype=np.int64))
        with pytest.raises(InputError, match=r"input_ids\[0, 1\] is 120"):
            engine.run(input_ids=[[2, 120]])
        with pytest.raises(InputError, match="has no tokenizer"):
            engine.predict(["a text"])


def test_a_closed_engine_says_so(bundle):
    with trbert_deploy.load(bundle) as engine:
        engine.run(input_ids=[[2, 3]])
    with pytest.raises(TRBertError, match="the engine is closed"):
        engine.run(input_ids=[[2, 3]])


@pytest.mark.parametrize("item", ["a text", {"text": "a text"}])
def test_a_single_item_is_not_taken_for_many(bundle, item):
    with trbert_deploy.load(bundle) as engine, pytest.raises(InputError, match="a list of items"):
        engine.predict(item)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, 2.0, None, "8", True, float("nan")])
def test_what_is_no_number_of_rows(text_bundle, batch_size):
    with (
        trbert_deploy.load(text_bundle("sequence-classification")) as engine,
        pytest.raises(InputError, match=f"batch_size must be a whole number of at least 1, not {batch_size!r}"),
    ):
        engine.predict(["a text"], batch_size=batch_size)


@pytest.mark.parametrize("items", [None, 7, 2.5])
def test_what_is_no_list_of_items(bundle, items):
    with trbert_deploy.load(bundle) as engine, pytest.raises(InputError, match="predict takes a list of items, not "):
        engine.predict(items)
