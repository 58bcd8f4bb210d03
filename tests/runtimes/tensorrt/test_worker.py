"""The runtime above TensorRT: the same answers as the model's forward.

ONNX Runtime does the engines' work; where there is a GPU, TensorRT does it too.
"""

from __future__ import annotations

import dataclasses
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import DeviceError
from trbert_deploy.core.request import check_request
from trbert_deploy.core.specs import ReductionSpec
from trbert_deploy.export.graphs import to_message
from trbert_deploy.export.trace import trace_stage
from trbert_deploy.runtimes import shape_buckets
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.pipeline import FusedPipeline, StagePipeline
from trbert_deploy.runtimes.profiles import choose_profile
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt import worker as worker_module
from trbert_deploy.runtimes.tensorrt.building import build_engines
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineError
from trbert_deploy.runtimes.tensorrt.padding import pad
from trbert_deploy.runtimes.tensorrt.runtime import open_runtime
from trbert_deploy.runtimes.tensorrt.worker import Worker
from trbert_deploy.tasks.heads.tokens import TokenHead

BUDGET = (0.4, 0.15)
SHAPES = ShapeBuckets(lengths=(16, 40, 64), kept=((8, 24, 64), (4, 16, 64)), rows=4, entries=6)


@pytest.fixture
def many_groups(monkeypatch):
    monkeypatch.setattr(shape_buckets, "GPU_OVERHEAD_TOKENS", 0)


def request_of(model, batch):
    return check_request(model.spec, batch)


def reduction_of(model, keep):
    return ReductionSpec(
        model.reduction.name,
        tuple(model.config.reduction_layers),
        mode="budget" if keep else "policy",
        fractions=tuple(keep),
        full_length=model.full_length,
    )


class Setup:
    tolerance = 2e-5

    def __init__(self, case, keep, engines, device, shapes=SHAPES):
        self.model, self.keep, self.engines, self.device = case.model, keep, engines, device
        self.worker = Worker(device, engines, shapes, case.model.spec)
        inputs = [list(engine.inputs) for engine in engines]
        self.pipeline = StagePipeline(self.worker, inputs, reduction_of(case.model, keep), group=shapes.group)

    def run(self, batch, want_kept=True, replay=None):
        return self.pipeline.run(request_of(self.model, batch), want_kept=want_kept, replay=replay)

    def assert_captured_in_buckets(self):
        assert self.device.captured > 0
        for engine in self.engines:
            for shapes in engine.ran:
                if "input_ids" in shapes:
                    assert shapes["input_ids"][-1] in SHAPES.lengths
                    assert shapes["input_ids"][0] in (1, 2, 3, 4)
                else:
                    assert shapes["rows"][0] in (1, 2, 3, 4)
                    assert shapes["hidden_states"][0] == SHAPES.rows

    def close(self):
        self.worker.close()
        assert self.device.blocks == {}
        assert self.device.streams == {}


class OnGpu:
    """The same on a GPU, with engines that TensorRT built and runs."""

    tolerance = 1e-4

    def __init__(self, bundle, model, keep, folder):
        self.model, self.keep = model, keep
        build_engines(bundle, SHAPES, folder=folder)
        self.runtime = open_runtime(bundle, LoadOptions(runtime="trt", engines=folder))

    def run(self, batch, want_kept=True, replay=None):
        return self.runtime.run(request_of(self.model, batch), want_kept=want_kept, replay=replay)

    def assert_captured_in_buckets(self):
        ((worker, _),) = self.runtime._free
        assert worker._calls
        for (stage, shapes, _), call in worker._calls.items():
            engine = worker._engines[stage]
            assert (call.captured is not None) is engine.to_capture  # TensorRT-RTX captures by itself
            axes = [axis for names in engine.inputs.values() for axis in names]
            sizes = {axis: size for axis, size in zip(axes, sum(shapes, ()), strict=True) if isinstance(axis, str)}
            assert sizes["batch"] in (1, 2, 3, 4)
            assert stage > 0 or sizes["length"] in SHAPES.lengths
            assert stage == 0 or sizes["batch_before"] == SHAPES.rows
            assert call.context._context.active_optimization_profile == choose_profile(engine.profiles, sizes)

    def close(self):
        self.runtime.close()


def engines_of(host_engines, case, graphs, device, shapes=SHAPES):
    return host_engines(graphs, shapes, case.model.spec, device, full_length=case.model.full_length)


@pytest.fixture
def in_memory(traced, host_engines, host_device):
    def make(name, keep):
        case = traced(name)
        return Setup(case, keep, engines_of(host_engines, case, case.stages(bool(keep)), host_device), host_device)

    return make


@pytest.fixture
def on_gpu(traced, golden_bundle, tmp_path):
    def make(name, keep):
        bundle = open_bundle(golden_bundle(name, ",".join(map(str, keep)) or None))
        return OnGpu(bundle, traced(name).model, keep, tmp_path)

    return make


@pytest.fixture
def host_setup(selecting, in_memory):
    return in_memory(*selecting)


@pytest.fixture(params=["in_memory", pytest.param("on_gpu", marks=pytest.mark.gpu)])
def setup(request, selecting):
    if request.param == "on_gpu" and selecting[0] == "tokens":
        pytest.skip("upstream has no such checkpoint to export")
    return request.getfixturevalue(request.param)(*selecting)


def assert_answers(given_result, wanted, wanted_kept, tolerance=Setup.tolerance):
    assert [[row.tolist() for row in step] for step in given_result.kept] == wanted_kept
    assert given_result.outputs.keys() == wanted.keys()
    for name, array in wanted.items():
        assert given_result.outputs[name].shape == array.shape
        np.testing.assert_allclose(given_result.outputs[name], array, rtol=0, atol=tolerance)


def test_answers_as_forward_first_captured_and_launched_again(setup, random_rows, batch_of, answer, many_groups):
    for seed, lengths in ((0, [60, 3, 57, 1, 2, 60, 31, 5, 9]), (1, [33, 8, 60, 17, 4, 1, 1, 59, 12])):
        batch = batch_of(random_rows(setup.model, lengths, seed=seed), width=63)
        wanted, wanted_kept = answer(setup.model, batch, setup.keep)
        for _ in range(3):
            given_result = setup.run(batch)
            assert_answers(given_result, wanted, wanted_kept, setup.tolerance)
            assert all(sum(sizes) == len(lengths) for sizes in given_result.group_sizes)
            assert all(size <= SHAPES.rows for sizes in given_result.group_sizes for size in sizes)
    setup.assert_captured_in_buckets()
    setup.close()


def test_the_buffers_of_earlier_requests_do_not_show(setup, random_rows, batch_of, answer):
    for seed, lengths in enumerate(([2], [60] * 4, [3, 1], [40, 7, 64], [64])):
        batch = batch_of(random_rows(setup.model, lengths, seed=seed))
        assert_answers(setup.run(batch), *answer(setup.model, batch, setup.keep), setup.tolerance)
    setup.close()


def test_kept_sets_from_outside_between_kept_sets_of_its_own(setup, random_rows, batch_of, answer):
    batch = batch_of(random_rows(setup.model, [60, 3, 57, 1, 20]))
    other = () if setup.keep else (0.6, 0.3)
    own, (wanted, wanted_kept) = answer(setup.model, batch, setup.keep), answer(setup.model, batch, other)
    assert own[1] != wanted_kept
    kept = [[np.array(row) for row in reduction] for reduction in wanted_kept]
    for _ in range(3):
        assert_answers(setup.run(batch), *own, setup.tolerance)
        assert_answers(setup.run(batch, replay=kept), wanted, wanted_kept, setup.tolerance)
    setup.close()


def test_nothing_comes_back_but_answers_and_in_policy_mode_counts(host_setup, random_rows, batch_of):
    batch = batch_of(random_rows(host_setup.model, [30, 20]))
    given_result = host_setup.run(batch, want_kept=False)
    counts = 0 if host_setup.keep else 2  # in policy mode the kept counts of both reductions
    assert len(host_setup.device.downloaded) == len(given_result.outputs) + counts
    assert max(host_setup.device.downloaded) < 30 * host_setup.model.config.backbone.hidden_size * 4


def test_memory_that_is_not_there_leaves_no_freed_buffer_in_use(in_memory, random_rows, batch_of, answer, monkeypatch):
    setup = in_memory("bert-sequence-classification", ())
    small, large = (batch_of(random_rows(setup.model, lengths)) for lengths in ([9], [60] * 4))
    wanted = answer(setup.model, small, setup.keep)
    assert_answers(setup.run(small), *wanted)
    with monkeypatch.context() as patched:
        patched.setattr(setup.device, "allocate", Mock(side_effect=DeviceError("no room")))
        with pytest.raises(DeviceError, match="no room"):
            setup.run(large)
    assert_answers(setup.run(small), *wanted)
    setup.close()
    assert setup.device.blocks == {}


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


def test_added_tokens_hold_what_the_specification_says(in_memory, random_rows, batch_of, answer, monkeypatch):
    setup = in_memory("bert-sequence-classification", ())
    task = setup.model.spec
    ids, *others = task.inputs
    task = dataclasses.replace(task, inputs=(dataclasses.replace(ids, padding=7), *others))
    worker = Worker(setup.device, setup.engines, SHAPES, task)
    inputs = [list(engine.inputs) for engine in setup.engines]
    pipeline = StagePipeline(worker, inputs, reduction_of(setup.model, ()), group=SHAPES.group)
    batch = batch_of(random_rows(setup.model, [9]))
    uploaded, upload = [], setup.device.upload
    monkeypatch.setattr(setup.device, "upload", lambda *given: uploaded.append(given[1]) or upload(*given))
    given_result = pipeline.run(request_of(setup.model, batch), want_kept=True)
    padded = dict(zip(inputs[0], uploaded, strict=False))
    assert padded["input_ids"][0].tolist() == [*batch["input_ids"][0], *[7] * 7]
    assert padded["attention_mask"][0].tolist() == [1] * 9 + [0] * 7
    assert_answers(given_result, *answer(setup.model, batch, ()))
    worker.close()
    setup.close()


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
