"""The runtime above TensorRT at shapes that its buckets do not have, and graphs that take other inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_setups import SHAPES, Setup, assert_answers, engines_of, reduction_of, request_of

from trbert_deploy.export.graphs import to_message
from trbert_deploy.export.trace import trace_stage
from trbert_deploy.runtimes.pipeline import FusedPipeline, StagePipeline
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt import worker as worker_module
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineError
from trbert_deploy.runtimes.tensorrt.padding import pad
from trbert_deploy.runtimes.tensorrt.worker import Worker
from trbert_deploy.tasks.heads.tokens import TokenHead

BUDGET = (0.4, 0.15)


@pytest.mark.parametrize("name", ["bert-sequence-classification", "distilbert-question-answering"])
def test_fused_in_budget_mode(traced, host_engines, host_device, random_rows, batch_of, answer, name):
    case = traced(name)
    model = case.model
    (engine,) = engines_of(host_engines, case, [case.fused(BUDGET)], host_device)
    worker = Worker(host_device, [engine], SHAPES, model.spec)
    pipeline = FusedPipeline(worker, list(engine.inputs), reduction_of(model, BUDGET), group=SHAPES.group)
    batch = batch_of(random_rows(model, [60, 3, 57, 1, 20]))
    for _ in range(3):
        assert_answers(pipeline.run(request_of(model, batch), want_kept=True), *answer(model, batch, BUDGET))


def test_shapes_beyond_the_buckets_name_the_command(traced, host_engines, host_device, random_rows, batch_of):
    case = traced("bert-wikihop")
    small = ShapeBuckets(lengths=(16,), kept=((2,), (1,)), rows=2, entries=2)
    setup = Setup(case, (), engines_of(host_engines, case, case.stages(False), host_device, small), host_device, small)
    with pytest.raises(EngineError, match="rows of at most 16 tokens, this batch has 20") as caught:
        setup.run(batch_of(random_rows(case.model, [20])))
    assert "trbert-deploy build" in caught.value.hint
    with pytest.raises(EngineError, match="what reduction 1 keeps of at most 2 tokens"):
        setup.run(batch_of(random_rows(case.model, [16, 15, 14, 13])))
    wide = ShapeBuckets(lengths=(16,), kept=((16,), (16,)), rows=2, entries=2)
    setup = Setup(case, (), engines_of(host_engines, case, case.stages(False), host_device, wide), host_device, wide)
    with pytest.raises(EngineError, match="at most 2 candidates, this batch has 4") as caught:
        setup.run(batch_of(random_rows(case.model, [9])))
    assert "--max-entries 4" in caught.value.hint


@pytest.fixture
def few_calls(monkeypatch):
    monkeypatch.setattr(worker_module, "MAX_CALLS", 2)


def test_as_many_calls_are_kept_as_may_be(traced, host_engines, host_device, random_rows, batch_of, answer, few_calls):
    case = traced("bert-sequence-classification")
    setup = Setup(case, (), engines_of(host_engines, case, case.stages(False), host_device), host_device)
    for _ in range(2):
        for length in (5, 30, 60):
            batch = batch_of(random_rows(case.model, [length]))
            assert_answers(setup.run(batch), *answer(case.model, batch, ()))
            assert len(setup.worker._calls) <= 2


def test_outputs_over_tokens_of_a_head_that_reads_no_mask(
    tiny_model, host_engines, host_device, random_rows, batch_of, answer, monkeypatch
):
    """The last stage is given no array over tokens then, and its outputs are as wide as the bucket."""
    monkeypatch.setattr(TokenHead, "reads", ())
    monkeypatch.setattr(TokenHead, "forward", lambda head, states, inputs: (head.classifier(states),))
    model = tiny_model("token-classification", layers=2, reduction_layers=[1], seed=5)
    graphs = [to_message(trace_stage(model, stage, False)) for stage in range(2)]
    engines = host_engines(graphs, SHAPES, model.spec, host_device, full_length=True)
    assert "attention_mask" not in engines[1].inputs
    worker = Worker(host_device, engines, SHAPES, model.spec)
    inputs = [list(engine.inputs) for engine in engines]
    pipeline = StagePipeline(worker, inputs, reduction_of(model, ()), group=SHAPES.group)
    rows = random_rows(model, [20, 18, 3])
    given_result = pipeline.run(request_of(model, batch_of(rows, width=22)), want_kept=True)
    assert given_result.outputs["logits"].shape == (3, 22, 3)
    for place, row in enumerate(rows):
        wanted, _ = answer(model, row, ())
        real = given_result.outputs["logits"][place, : row["input_ids"].shape[1]]
        np.testing.assert_allclose(real, wanted["logits"][0], rtol=0, atol=Setup.tolerance)
    worker.close()


AXES = {
    "input_ids": ["batch", "length"],
    "attention_mask": ["batch", "length"],
    "candidate_positions": ["batch", "candidates"],
}


PADDING = {"input_ids": 1, "candidate_positions": -1}


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(1, 64), st.integers(1, 3), st.integers(0, 99))
def test_padding_adds_masked_tokens_and_rows_that_are_there_already(rows, width, candidates, seed):
    rng = np.random.default_rng(seed)
    feeds = {
        "input_ids": rng.integers(2, 9, (rows, width)),
        "attention_mask": np.ones((rows, width), dtype=np.int64),
        "candidate_positions": rng.integers(0, width, (rows, candidates)),
    }
    padded = pad(AXES, feeds, SHAPES, 0, PADDING)
    assert (padded.rows, padded.width) == (rows, width)
    for name, array in padded.arrays.items():
        assert array.shape == padded.shape(AXES[name])
        real = feeds[name]
        assert np.array_equal(array[:rows, : real.shape[1]], real)
        assert (array[:, real.shape[1] :] == PADDING.get(name, 0)).all()
        assert all(np.array_equal(row, array[rows - 1]) for row in array[rows:])
    assert padded.sizes["length"] == min(bucket for bucket in SHAPES.lengths if bucket >= width)
    assert padded.sizes["candidates"] == candidates
