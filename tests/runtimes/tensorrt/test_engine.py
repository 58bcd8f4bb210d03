"""What an engine says of its inputs and outputs is held against its file's header and the bundle when it is loaded.

TensorRT loads no engine without a GPU, so what it would say is said here by a stand-in; header and names are those of
an engine that TensorRT-RTX built.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.specs import TensorSpec
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.builder import BuildSettings
from trbert_deploy.runtimes.tensorrt.building import build_engines
from trbert_deploy.runtimes.tensorrt.engine import TensorRTEngine
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineError, read_engine
from trbert_deploy.runtimes.tensorrt.flavor import Flavor, find_flavor

RTX = find_flavor("rtx").module


class Loaded:
    """An engine as TensorRT shows it, after loading."""

    device_memory_size_v2 = 0

    def __init__(self, inputs, outputs):
        self.tensors = [(name, RTX.TensorIOMode.INPUT, kind) for name, kind in inputs.items()]
        self.tensors += [(name, RTX.TensorIOMode.OUTPUT, kind) for name, kind in outputs.items()]
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, number):
        return self.tensors[number][0]

    def get_tensor_mode(self, name):
        return next(mode for own, mode, _ in self.tensors if own == name)

    def get_tensor_dtype(self, name):
        return next(kind for own, _, kind in self.tensors if own == name)


def flavor_that_loads(engine):
    module = SimpleNamespace(
        Logger=RTX.Logger,
        TensorIOMode=RTX.TensorIOMode,
        nptype=RTX.nptype,
        Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda serialized: engine),
    )
    return Flavor("tensorrt", module, "0")


@pytest.fixture(scope="module")
def built(golden_bundle, tmp_path_factory):
    """The second stage of a bundle: its graph in the manifest, its engine with the header."""
    bundle = open_bundle(golden_bundle("distilbert3-sequence-classification"))
    shapes = ShapeBuckets(lengths=(64,), kept=((32,),), rows=1, entries=1)
    folder = tmp_path_factory.mktemp("engines")
    report = build_engines(bundle, shapes, flavor="rtx", settings=BuildSettings(optimization_level=0), folder=folder)
    (file,) = (engine.file for engine in report.engines if engine.graph == "stage_1.onnx")
    return bundle.manifest.stages[1], *read_engine(Path(folder) / file)


@pytest.fixture
def said(built):
    """Inputs and outputs with their types, as the engine would say them."""
    graph, header, _ = built
    kinds = {"float": RTX.float32, "half": RTX.float16, "int64": RTX.int64, "bool": RTX.bool}
    inputs = {name: kinds[header.types[name]] for name in graph.input_names}
    return inputs, {name: kinds[header.types[name]] for name in graph.output_names}


def load(built, said, **changes):
    graph, header, serialized = built
    graph = graph.model_copy(update=changes)
    return TensorRTEngine(flavor_that_loads(Loaded(*said)), header, serialized, graph, device=None)


def test_an_engine_that_says_the_same_is_loaded(built, said):
    graph, header, _ = built
    engine = load(built, said)
    assert list(engine.inputs) == graph.input_names
    assert engine.inputs["hidden_states"] == header.inputs["hidden_states"]
    assert engine.dtype("rows") == np.int64
    assert engine.dtype("logits") == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda inputs, outputs: inputs.pop("keep"), "has no input keep, its header has"),
        (lambda inputs, outputs: inputs.update(mask=RTX.int64), "has the input mask, its header has not"),
        (lambda inputs, outputs: outputs.pop("logits"), "has no output logits, its header has"),
        (lambda inputs, outputs: outputs.update(more=RTX.float32), "has the output more, its header has not"),
        (
            lambda inputs, outputs: inputs.update(hidden_states=RTX.float16),
            "has hidden_states of type half, its header says float",
        ),
        (lambda inputs, outputs: outputs.update(logits=RTX.int64), "has logits of type int64, its header says float"),
    ],
    ids=["no input", "strange input", "no output", "strange output", "input's type", "output's type"],
)
def test_an_engine_that_says_otherwise_is_refused(built, said, change, message):
    change(*said)
    with pytest.raises(EngineError, match=f"the engine of stage_1.onnx {message}") as caught:
        load(built, said)
    assert "trbert-deploy build" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"inputs": [TensorSpec("rows", ("batch",), "int64")]},
            "has the input .*hidden_states.*, the bundle's stage_1.onnx has not",
        ),
        (
            {"outputs": [TensorSpec(name, ("batch",), "float32") for name in ("logits", "more")]},
            "has no output more, the bundle's stage_1.onnx has",
        ),
    ],
)
def test_an_engine_of_another_graph_than_the_bundles_is_refused(built, said, changes, message):
    with pytest.raises(EngineError, match=message):
        load(built, said, **changes)


def test_an_engine_that_tensorrt_does_not_load(built):
    graph, header, serialized = built
    with pytest.raises(EngineError, match=r"TensorRT 0 does not load the engine of stage_1\.onnx"):
        TensorRTEngine(flavor_that_loads(None), header, serialized, graph, device=None)
