"""fp16 graphs: really float16, selection really float32, and the reference's answers within the precision."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from trbert_deploy.bundle.precision import TOLERANCES
from trbert_deploy.export.fuse import fuse
from trbert_deploy.export.graphs import from_message, to_message
from trbert_deploy.export.half import Half
from trbert_deploy.export.selection_nodes import selection_nodes
from trbert_deploy.runtimes.pipeline import StagePipeline

BUDGET = (0.4, 0.15)


@pytest.fixture(scope="module")
def case(selecting, traced, half_of):
    name, keep = selecting
    return traced(name).model, keep, traced(name).stages(bool(keep)), half_of(name, bool(keep))


class Sessions:
    """Stages on ONNX Runtime; handles are arrays of the sessions' own types."""

    def __init__(self, sessions):
        self.sessions = sessions

    def run(self, stage, feeds):
        session = self.sessions[stage]
        names = [value.name for value in session.get_outputs()]
        wanted = [value.name for value in session.get_inputs()]
        return dict(zip(names, session.run(names, {name: feeds[name] for name in wanted}), strict=True))

    def fetch(self, handle):
        return handle


class Evaluators(Sessions):
    """Stages on the reference implementation of the ONNX standard, which rounds to half after every operator."""

    def run(self, stage, feeds):
        evaluator = self.sessions[stage]
        names = evaluator.output_names
        return dict(zip(names, evaluator.run(None, {name: feeds[name] for name in evaluator.input_names}), strict=True))


def inputs_of(graphs):
    return [[value.name for value in graph.graph.input] for graph in graphs]


def types_of(graph):
    """Element type of every tensor of a graph."""
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    values = [*inferred.input, *inferred.output, *inferred.value_info]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {weight.name: weight.data_type for weight in inferred.initializer}


def test_graphs_are_valid_and_standard(case):
    for graph in case[3]:
        onnx.checker.check_model(graph, full_check=True)
        assert {node.domain for node in graph.graph.node} == {""}
        assert [opset.domain for opset in graph.opset_import] == [""]
        names = [node.name for node in graph.graph.node]
        assert len(set(names)) == len(names)


def test_weights_are_half_and_states_are_handed_over_in_half(case):
    model, _, _, half = case
    for index, graph in enumerate(half):
        types = types_of(graph)
        assert all(types[node.input[1]] == TensorProto.FLOAT16 for node in graph.graph.node if node.op_type == "Gemm")
        large = [weight for weight in graph.graph.initializer if len(weight.dims) > 1 and max(weight.dims) > 1]
        in_float = {weight.name for weight in large if weight.data_type == TensorProto.FLOAT}
        selector = {name for node in graph.graph.node if node.op_type == "MatMul" for name in node.input}
        assert in_float <= selector
        for value in (*graph.graph.input, *graph.graph.output):
            wanted = TensorProto.FLOAT16 if value.name.endswith("hidden_states") else TensorProto.INT64
            if value.name in {output.name for output in model.task.outputs}:
                wanted = TensorProto.FLOAT
            assert value.type.tensor_type.elem_type == wanted, (index, value.name)


def test_selectors_and_what_compares_their_logits_are_float32(case):
    model, _, single, half = case
    for index, (before, graph) in enumerate(zip(single, half, strict=True)):
        names, types = selection_nodes(before), types_of(graph)
        deciding = [node for node in graph.graph.node if node.name in names]
        assert len(deciding) == len(names)
        made = {name for node in deciding for name in node.output}
        for node in graph.graph.node:  # nor is anything rounded on the way from one to the next
            assert node.name in names or TensorProto.FLOAT not in {types[name] for name in node.input if name in made}
        for node in deciding:
            assert TensorProto.FLOAT16 not in {types[name] for name in (*node.input, *node.output) if name}
        operators = [node.op_type for node in deciding]
        if index < model.num_stages - 1:
            assert operators.count("MatMul") == 2  # the selector's two linear maps
            assert "Gelu" in operators
            assert {"GreaterOrEqual", "Greater"} & set(operators)
        assert ("TopK" in operators) is (index > 0)
        norms = [node for node in graph.graph.node if node.op_type == "LayerNormalization"]
        assert all(types[name] == TensorProto.FLOAT for node in norms for name in node.input)


def test_no_constant_overflows(case):
    for graph in case[3]:
        for weight in graph.graph.initializer:
            array = onnx.numpy_helper.to_array(weight)
            assert np.isfinite(array.astype(np.float64)).all()
            if weight.data_type == TensorProto.FLOAT16:
                assert np.abs(array).max(initial=0) <= 1e4


@pytest.mark.filterwarnings("error::RuntimeWarning")  # overflow, not a number
@pytest.mark.parametrize("runtime", ["onnxruntime", "onnx"])
def test_answers_are_the_references_within_the_precision(
    case, session_of, requests_of, reduction_of, random_rows, answer, runtime
):
    """`onnx` rounds as a GPU does; ONNX Runtime has no half kernels on CPUs and computes in float32 between casts."""
    model, keep, _, half = case
    if runtime == "onnx":
        runner = Evaluators([ReferenceEvaluator(graph) for graph in half])
        lengths = [17, 3]
    else:
        runner = Sessions([session_of(graph) for graph in half])
        lengths = [60, 3, 57, 1, 31]
    pipeline = StagePipeline(runner, inputs_of(half), reduction_of(model, keep))
    flipped = reached = 0
    for row, request in zip(random_rows(model, lengths), requests_of(model, lengths), strict=True):
        given = pipeline.run(request, want_kept=True)
        wanted, wanted_kept = answer(model, row, keep)
        pairs = zip(given.kept, wanted_kept, strict=True)
        flips = [len(set(mine[0].tolist()) ^ set(theirs[0])) for mine, theirs in pairs]
        flipped, reached = flipped + sum(flips), reached + len(flips) * int(request.lengths[0])
        if any(flips):
            continue
        for name, array in wanted.items():
            assert given.outputs[name].dtype == np.float32
            np.testing.assert_allclose(
                given.outputs[name], array, rtol=TOLERANCES["fp16"].outputs, atol=TOLERANCES["fp16"].outputs
            )
    assert flipped <= TOLERANCES["fp16"].flips * reached


def test_padding_is_nothing_in_half_either(traced, half_of, session_of, random_rows, batch_of):
    """The mask of a padded row neither overflows nor leaks: the same logits alone and beside a longer row."""
    model = traced("bert-sequence-classification").model
    half = [from_message(graph) for graph in half_of("bert-sequence-classification", False)]
    session = session_of(to_message(fuse(half, (), model.spec)))
    rows = random_rows(model, [5, 60])
    names = [value.name for value in session.get_inputs()]
    together = session.run(["logits"], {name: batch_of(rows)[name] for name in names})[0]
    alone = np.concatenate([session.run(["logits"], {name: row[name] for name in names})[0] for row in rows])
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, alone, rtol=0, atol=2e-3)


def test_a_constant_shared_with_a_half_node_is_not_rounded_for_selection():
    """Selection compares with 1e-9, an addition of states uses the same constant."""
    nodes = [
        helper.make_node("Add", ["states", "small"], ["next_hidden_states"], "add"),
        helper.make_node("ReduceMax", ["states", "axis"], ["score"], "score", keepdims=0),
        helper.make_node("Greater", ["score", "small"], ["kept"], "compare"),
        helper.make_node("Cast", ["kept"], ["next_keep_mask"], "mask", to=TensorProto.INT64),
    ]
    graph = helper.make_graph(
        nodes,
        "stage",
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["n", 4])],
        [
            helper.make_tensor_value_info("next_hidden_states", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("next_keep_mask", TensorProto.INT64, ["n"]),
        ],
        [
            onnx.numpy_helper.from_array(np.float32(1e-9), "small"),
            onnx.numpy_helper.from_array(np.array([1]), "axis"),
        ],
    )
    single = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    half = to_message(Half([])(from_message(single)).model)
    onnx.checker.check_model(half, full_check=True)
    compared = next(node for node in half.graph.node if node.name == "compare").input[1]
    constant = next(weight for weight in half.graph.initializer if weight.name == compared)
    assert onnx.numpy_helper.to_array(constant) == np.float32(1e-9)
