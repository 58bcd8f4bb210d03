"""int8 graphs: Q/DQ around the layers' products and nowhere else, ranges per stage, and the reference's answers."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from trbert_deploy.bundle.precision import TOLERANCES
from trbert_deploy.export.calibration import calibrate
from trbert_deploy.export.graphs import from_message, to_message
from trbert_deploy.export.quantize import Quantize
from trbert_deploy.export.selection_nodes import selection_nodes
from trbert_deploy.export.sensitivity import measure_sensitivity
from trbert_deploy.export.sessions import GraphRunner
from trbert_deploy.runtimes.onnxruntime.pool import share_threads
from trbert_deploy.runtimes.pipeline import StagePipeline

BUDGET = (0.4, 0.15)
FORMS = ["cpu", "tensorrt"]


@pytest.fixture(scope="module", autouse=True)
def shared_pool():
    share_threads(None)


@pytest.fixture(scope="module")
def case(selecting, traced):
    name, keep = selecting
    return name, keep, traced(name).model, traced(name).stages(bool(keep))


def makers_of(graph):
    return {name: node for node in graph.graph.node for name in node.output}


def constants_of(graph):
    return {weight.name: numpy_helper.to_array(weight) for weight in graph.graph.initializer}


@pytest.mark.parametrize("form", FORMS)
def test_the_layers_products_and_only_they_read_dequantized_integers(case, int8_of, products_of, form):
    name, keep, model, _ = case
    found = []
    for by_layer, graph in zip(products_of(name, keep), int8_of(name, keep, form), strict=True):
        onnx.checker.check_model(graph, full_check=True)
        assert {node.domain for node in graph.graph.node} == {""}
        assert [opset.domain for opset in graph.opset_import] == [""]
        makers, constants = makers_of(graph), constants_of(graph)
        assert not graph.metadata_props
        products = {node for own in by_layer.values() for node in own}
        found += by_layer
        for node in graph.graph.node:
            if node.op_type not in ("Gemm", "MatMul"):
                continue
            sides = [makers.get(name) for name in node.input[:2]]
            dequantized = [side is not None and side.op_type == "DequantizeLinear" for side in sides]
            assert dequantized == [node.name in products] * 2
            if node.name not in products:
                continue
            states, weight = sides
            assert makers[states.input[0]].op_type == "QuantizeLinear"
            zero, kind = constants[states.input[2]], np.uint8 if form == "cpu" else np.int8
            assert zero.dtype == kind
            assert zero.ndim == 0
            assert form == "cpu" or zero == 0
            assert constants[weight.input[0]].dtype == np.int8
            assert constants[weight.input[1]].shape == (constants[weight.input[0]].shape[0],)  # a scale a channel
            assert not constants[weight.input[2]].any()
            bias = makers.get(node.input[2])
            assert (bias is not None) is (form == "cpu")  # TensorRT takes no int32 bias
    assert sorted(found) == list(range(len(model.encoder_layers)))


def test_selection_is_the_float32_graphs(case, int8_of):
    name, keep, _, single = case
    for before, graph in zip(single, int8_of(name, keep, "cpu"), strict=True):
        names = selection_nodes(before)
        now = {node.name: node for node in graph.graph.node}
        for node in before.graph.node:
            if node.name in names:
                assert now[node.name] == node
        for value in graph.graph.output:
            if value.name == "next_hidden_states":
                assert value.type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.parametrize("form", FORMS)
def test_answers_are_the_references_within_the_precision(
    case, int8_of, requests_of, reduction_of, random_rows, answer, form
):
    name, keep, model, _ = case
    runner = GraphRunner([from_message(graph) for graph in int8_of(name, keep, form)])
    pipeline = StagePipeline(runner, runner.inputs, reduction_of(model, keep))
    lengths = [50, 3, 41, 1, 31, 2, 17]
    flipped = reached = compared = 0
    furthest = 0.0
    for row, request in zip(random_rows(model, lengths), requests_of(model, lengths), strict=True):
        given = pipeline.run(request, want_kept=True)
        wanted, wanted_kept = answer(model, row, keep)
        pairs = zip(given.kept, wanted_kept, strict=True)
        flips = [len(set(mine[0].tolist()) ^ set(theirs[0])) for mine, theirs in pairs]
        flipped, reached = flipped + sum(flips), reached + len(flips) * int(request.lengths[0])
        if any(flips):
            continue
        compared += 1
        for output, array in wanted.items():
            furthest = max(furthest, float(np.abs(given.outputs[output] - array).max(initial=0)))
    assert compared >= 3
    assert 0 < furthest <= TOLERANCES["int8"].outputs  # and it is int8 that was run, not float32
    assert flipped <= TOLERANCES["int8"].flips * reached


def test_the_cpu_form_is_multiplied_in_integers(products_of, int8_of, tmp_path):
    """ONNX Runtime fuses every layer product to QGemm; with float32 biases it would dequantize and multiply floats."""
    multiplied = {}
    for form in FORMS:
        options = onnxruntime.SessionOptions()
        options.use_per_session_threads = False
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / f"{form}.onnx")
        graph = int8_of("bert-sequence-classification", (), form)[2]
        onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        optimized = onnx.load(options.optimized_model_filepath)
        multiplied[form] = [node.op_type for node in optimized.graph.node].count("QGemm")
    products = products_of("bert-sequence-classification", ())[2]
    assert multiplied["cpu"] == sum(len(own) for own in products.values())
    assert multiplied["tensorrt"] == 0


def test_a_stages_ranges_are_those_of_the_tokens_that_reach_it(traced, requests_of, reduction_of):
    """Held against numpy: rows alone, kept tokens only, through every stage in turn."""
    name = "bert-sequence-classification"
    model, graphs = traced(name).model, traced(name).graphs(True)
    requests = requests_of(model, [40, 7, 23])
    ranges = calibrate(graphs.stages, reduction_of(model, BUDGET), requests)
    seen: dict[int, list[np.ndarray]] = {1: [], 2: []}

    class Watching(GraphRunner):
        def run(self, stage, feeds):
            if stage:
                kept = np.flatnonzero(feeds["keep_mask"][0])
                seen[stage].append(feeds["hidden_states"][0][kept])
            return super().run(stage, feeds)

    runner = Watching(graphs.stages)
    pipeline = StagePipeline(runner, runner.inputs, reduction_of(model, BUDGET))
    for request in requests:
        pipeline.run(request, want_kept=False)
    for stage, states in seen.items():
        values = np.concatenate(states)
        first = next(node for node in traced(name).stage(stage, True).graph.node if node.op_type == "Gemm").input[0]
        low, high = ranges[stage][first]
        width = (values.max() - values.min()) / 1000
        assert values.min() - width <= low <= np.quantile(values, 0.001) + width
        assert np.quantile(values, 0.999) - width <= high <= values.max() + width


def test_calibrating_changes_neither_graphs_nor_answers(traced, requests_of, reduction_of):
    """The stages are watched by copies that give more."""
    name = "bert-sequence-classification"
    model, graphs = traced(name).model, traced(name).graphs(False)
    before = [to_message(stage).SerializeToString(deterministic=True) for stage in graphs.stages]
    done = []
    (request,) = requests_of(model, [30])
    ranges = calibrate(graphs.stages, reduction_of(model, ()), [request] * 2, done.append)
    assert done == [1, 2]
    assert [to_message(stage).SerializeToString(deterministic=True) for stage in graphs.stages] == before
    weights = {value.name for stage in graphs.stages for value in stage.graph.initializers.values()}
    for stage, own in zip(graphs.stages, ranges, strict=True):
        read = {node.inputs[0].name for node in stage.graph if node.op_type == "Gemm"}
        assert own.keys() == read
        assert not read & weights
        assert all(low < high for low, high in own.values())


def test_layers_left_out_stay_in_float32(traced, ranges_of, products_of):
    name = "bert-sequence-classification"
    graph = traced(name).graphs(False).stages[2]
    ranges = ranges_of(name, ())[2]
    products = products_of(name, ())[2]
    layers = sorted(products)
    assert len(layers) == 2
    before = to_message(graph)
    part = to_message(Quantize(ranges, "cpu", products[layers[0]])(graph).model)
    makers = makers_of(part)
    quantized = {
        node.name
        for node in part.graph.node
        if node.op_type == "Gemm" and node.input[0] in makers and makers[node.input[0]].op_type == "DequantizeLinear"
    }
    assert quantized == set(products[layers[0]])
    untouched = Quantize(ranges, "cpu", [])(graph)
    assert not untouched.modified
    assert to_message(untouched.model) == before
    assert to_message(graph) == before


def test_the_layer_that_suffers_most_comes_first(ranges_of, requests_of, reduction_of, traced):
    """Layer 0's ranges are cut to nothing, so that its quantization alone ruins the answers."""
    name = "bert-sequence-classification"
    model, ranges = traced(name).model, ranges_of(name, ())
    cut = {tensor: (low * np.float32(0.01), high * np.float32(0.01)) for tensor, (low, high) in ranges[0].items()}
    rows = requests_of(model, [40, 9, 25], seed=2)
    found = measure_sensitivity(traced(name).graphs(False), reduction_of(model, ()), [cut, *ranges[1:]], rows, "cpu")
    assert found[0].layer == 0
    assert sorted((one.layer, one.stage) for one in found) == [(0, 0), (1, 1), (2, 2), (3, 2)]
    assert found[0].mean_difference > 5 * found[1].mean_difference > 0
    assert [one.mean_difference for one in found] == sorted((one.mean_difference for one in found), reverse=True)
    assert sum(found[0].flipped_tokens) > 0
