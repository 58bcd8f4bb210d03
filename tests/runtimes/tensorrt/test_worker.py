"""The runtime above TensorRT: the same answers as the model's forward.

ONNX Runtime does the engines' work; where there is a GPU, TensorRT does it too.
"""

from __future__ import annotations

import dataclasses
from unittest.mock import Mock

import numpy as np
import pytest
from worker_setups import SHAPES, OnGpu, Setup, assert_answers, engines_of, reduction_of, request_of

from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import DeviceError
from trbert_deploy.runtimes import shape_buckets
from trbert_deploy.runtimes.pipeline import StagePipeline
from trbert_deploy.runtimes.tensorrt.worker import Worker


@pytest.fixture
def many_groups(monkeypatch):
    monkeypatch.setattr(shape_buckets, "GPU_OVERHEAD_TOKENS", 0)


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
