"""The runtime over engines in memory, and where there is a GPU over real ones."""

from __future__ import annotations

import threading

import numpy as np
import onnx
import pytest

from trbert_deploy.api import Engine, load
from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import TRBertError
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.building import build_engines
from trbert_deploy.runtimes.tensorrt.runtime import TensorRTRuntime, open_runtime
from trbert_deploy.verification import verify_engine

NAME = "distilbert3-sequence-classification"


@pytest.fixture(params=["in memory", pytest.param("on a GPU", marks=pytest.mark.gpu)])
def runtime(request, bundle, host_engines, host_device, tmp_path):
    shapes = ShapeBuckets(lengths=(16, 96), kept=((8, 96),), rows=4, entries=1)
    if request.param == "on a GPU":
        build_engines(bundle, shapes, folder=tmp_path)
        return open_runtime(bundle, LoadOptions(runtime="trt", engines=tmp_path))
    graphs = [onnx.load(bundle.path(graph.file)) for graph in bundle.manifest.stages]
    engines = host_engines(graphs, shapes, bundle.manifest.task, host_device, full_length=False)
    return TensorRTRuntime(host_device, engines, shapes, bundle)


def test_golden_vectors_replay(bundle, runtime, host_device):
    with Engine(bundle, runtime) as engine:
        assert verify_engine(engine).passed
    assert host_device.blocks == {}
    with pytest.raises(TRBertError, match="closed"):
        runtime.run(None, want_kept=False)


def test_callers_at_once_have_workers_of_their_own(bundle, runtime, host_device):
    engine = Engine(bundle, runtime)
    rng = np.random.default_rng(0)
    largest = bundle.manifest.task.inputs[0].maximum
    batches = [rng.integers(0, largest + 1, (3, length)) for length in (9, 30, 50, 14) for _ in range(3)]
    wanted = [engine.run(input_ids=batch)["logits"] for batch in batches]
    wrong = []

    def caller(start):
        for number in range(start, start + 2 * len(batches)):
            place = number % len(batches)
            if not np.allclose(engine.run(input_ids=batches[place])["logits"], wanted[place], atol=1e-5):
                wrong.append(place)

    threads = [threading.Thread(target=caller, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 1 <= len(runtime._free) <= 4
    engine.close()
    assert host_device.blocks == {}


@pytest.mark.gpu
@pytest.mark.parametrize(("mode", "keep"), [("dense", None), ("staged", "0.25"), ("fused", "0.25")])
def test_on_a_gpu_the_other_modes_answer_as_onnx_runtime(golden_bundle, tmp_path, mode, keep):
    bundle = open_bundle(golden_bundle(NAME, keep))
    shapes = ShapeBuckets(lengths=(16, 96), kept=((8, 96),), rows=4, entries=1)
    build_engines(bundle, shapes, folder=tmp_path, fused=mode == "fused")
    ids = np.random.default_rng(0).integers(0, bundle.manifest.task.inputs[0].maximum + 1, (7, 40))
    with load(bundle, runtime="trt", mode=mode, engines=tmp_path) as engine, load(bundle, mode=mode) as wanted:
        for _ in range(3):  # plain, captured, launched again
            given, exact = (one.run(input_ids=ids, return_selection=True) for one in (engine, wanted))
            np.testing.assert_allclose(given["logits"], exact["logits"], atol=1e-4)
            assert [[row.tolist() for row in step] for step in given.selection] == [
                [row.tolist() for row in step] for step in exact.selection
            ]
