"""Every graph builds, in every precision and mode: upstream's checkpoints, BERT-base's shape, the shipped model.

Small float32 graphs are built in `test_builder`; what a bundle's label has to do with it in `test_precisions`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir
import pytest
from graph_files import save_graph

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.export.fuse import fuse
from trbert_deploy.export.graphs import Graphs, from_message, to_message
from trbert_deploy.export.half import Half
from trbert_deploy.export.quantize import Quantize, layer_products, products
from trbert_deploy.model import TRBertConfig, model_class
from trbert_deploy.runtimes.profiles import own_axes, stage_profiles
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.builder import BuildSettings, build_engine
from trbert_deploy.runtimes.tensorrt.flavor import find_flavor
from trbert_deploy.shipped_models import DEFAULT_MODEL
from trbert_deploy.tasks import TASKS

BUDGET = (0.4, 0.15)
PRECISIONS = ("fp32", "fp16", "int8")
MODES = ("policy", "budget", "dense")
QUICKLY = BuildSettings(optimization_level=0)


@dataclasses.dataclass
class Part:
    name: str
    graph: ir.Model
    stage: int


def in_precision(graphs: Graphs, precision: str, model) -> Graphs:
    if precision == "fp16":
        half = Half([output.name for output in model.task.outputs])
        return graphs.apply(lambda file: half)
    if precision == "int8":
        passes = {file: quantize(graph, graphs.layers) for file, graph in graphs.named()}
        return graphs.apply(passes.__getitem__)
    return graphs


def quantize(graph: ir.Model, layers) -> Quantize:
    """Whether a graph builds has nothing to do with how wide its ranges are."""
    names = [name for own in layer_products(graph.graph, layers).values() for name in own]
    read = {node.inputs[0].name for node in products(graph.graph) if node.name in names}
    return Quantize(dict.fromkeys(read, (np.float32(-1), np.float32(1))), "tensorrt", names)


def parts_of(case, precision: str, modes: Sequence[str]) -> Iterator[Part]:
    """Stages of these modes, of which the last is the same; with budgets the fused graph, in mode "dense" that."""
    model = case.model
    if "policy" in modes:
        for stage, graph in enumerate(in_precision(case.graphs(False), precision, model).stages):
            yield Part(f"policy, stage {stage}", graph, stage)
    if "budget" in modes:
        stages = in_precision(case.graphs(True), precision, model).stages
        for stage, graph in enumerate(stages[:-1] if "policy" in modes else stages):
            yield Part(f"budget, stage {stage}", graph, stage)
        if model.task.protected_from is None:  # where tokens are protected, how many go on depends on the data
            yield Part("fused", fuse(stages, BUDGET[: model.num_stages - 1], model.spec), 0)
    if "dense" in modes:
        graphs = dataclasses.replace(case.graphs(False), dense=from_message(case.dense()))
        dense = in_precision(graphs, precision, model).dense
        assert dense is not None
        yield Part("dense", dense, 0)


def assert_builds(case, precision: str, folder, modes: Sequence[str] = MODES) -> None:
    model, rtx = case.model, find_flavor("rtx")
    most = min(64, model.config.backbone.max_position_embeddings)
    kept = ((most // 4, most // 2),) * (model.num_stages - 1)
    shapes = ShapeBuckets(lengths=(most // 2, most), kept=kept, rows=1, entries=5)
    for part in parts_of(case, precision, modes):
        described = save_graph(to_message(part.graph), folder)
        said = []
        profiles = stage_profiles(shapes, part.stage, full_length=model.full_length, own=own_axes(model.spec))
        assert len(profiles) == 2
        built = build_engine(rtx, folder, described, profiles, QUICKLY, said.append)
        assert [line for line in said if "building for" not in line] == [], part.name
        assert len(built.serialized) > 10_000
        assert built.precision == precision, part.name
        floats = {built.types[name] for name in built.types if name.endswith("hidden_states")}
        assert floats <= ({"half"} if precision == "fp16" else {"float"}), part.name
        outputs = {output.name for output in model.task.outputs}
        assert {built.types[name] for name in built.types if name in outputs} <= {"float"}, part.name


def test_every_task(selecting, traced, tmp_path):
    """In one precision each; `test_upstreams_checkpoints` takes all of them."""
    name, keep = selecting
    assert_builds(traced(name), "int8" if keep else "fp16", tmp_path, ["budget" if keep else "policy"])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_upstreams_checkpoints(golden_name, traced, tmp_path, precision):
    assert_builds(traced(golden_name), precision, tmp_path)


def bert_base(traced_model, layers: int, **shape: int):
    """BERT-base's width and heads, random weights."""
    config = TRBertConfig(backbone={"model_type": "bert", "num_hidden_layers": layers, **shape}, num_labels=2)
    return traced_model(model_class(TASKS.get("sequence-classification"))(config).eval())


@pytest.fixture(scope="module")
def four_layers(traced_model):
    case = bert_base(traced_model, 4, vocab_size=1000)
    assert (case.model.config.backbone.hidden_size, case.model.num_stages) == (768, 3)
    return case


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_few_layers_of_bert_base(four_layers, tmp_path, precision):
    assert_builds(four_layers, precision, tmp_path)


@pytest.fixture(scope="module")
def twelve_layers(traced_model):
    return bert_base(traced_model, 12)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_bert_base_whole(twelve_layers, tmp_path, precision):
    assert_builds(twelve_layers, precision, tmp_path)


@pytest.fixture(scope="module")
def shipped(traced_model):
    return traced_model(load_checkpoint(DEFAULT_MODEL).model)


@pytest.mark.parametrize("modes", [("policy",), pytest.param(MODES, marks=pytest.mark.slow)], ids="-".join)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_model_that_ships_with_the_project(shipped, tmp_path, precision, modes):
    assert_builds(shipped, precision, tmp_path, modes)
