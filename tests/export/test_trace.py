"""Stage graphs: standard operators, dynamic everywhere, and the reference's numbers at every size."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
import torch

from trbert_deploy.bundle.manifest import NEXT
from trbert_deploy.export.examples import example_inputs
from trbert_deploy.export.graphs import to_message
from trbert_deploy.export.trace import OPSET, stage_spec, trace_dense
from trbert_deploy.model import by_budget as with_budget
from trbert_deploy.model import by_policy, run_stage
from trbert_deploy.tasks import TASKS

#: Together: every task, both backbones, one and two reductions (`pairs` has one), both modes.
GRAPHS = [
    ("bert-sequence-classification", False),
    ("bert-sequence-classification", True),
    ("bert-hotpot-question-answering", False),
    ("distilbert-question-answering", True),
    ("distilbert-multiple-choice", False),
    ("distilbert-multiple-choice", True),
    ("bert-wikihop", True),
    ("tokens", False),
    ("pairs", True),
    ("all-equal", True),
]
ids = [f"{name}-{'budget' if by_budget else 'policy'}" for name, by_budget in GRAPHS]


@pytest.fixture(params=GRAPHS, ids=ids, scope="module")
def staged(request, traced):
    name, by_budget = request.param
    model = traced(name)
    return model.model, by_budget, model.stages(by_budget)


def test_every_task_is_traced(traced):
    assert {traced(name).model.task.name for name, _ in GRAPHS} >= set(TASKS.names()) - {"question-answering"}
    assert {traced(name).model.config.backbone.model_type for name, _ in GRAPHS} == {"bert", "distilbert"}


def test_graphs_are_standard_and_valid(staged):
    _, _, graphs = staged
    for graph in graphs:
        onnx.checker.check_model(graph, full_check=True)
        assert {node.domain for node in graph.graph.node} == {""}
        assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", OPSET)]
        assert not graph.functions
        assert all(onnx.defs.has(node.op_type, OPSET) for node in graph.graph.node)


def test_inputs_and_outputs_are_the_specs_and_have_no_fixed_size(staged):
    model, by_budget, graphs = staged
    hidden = model.config.backbone.hidden_size
    for index, graph in enumerate(graphs):
        spec = stage_spec(model, index, by_budget)
        assert [value.name for value in graph.graph.input] == [tensor.name for tensor in spec.inputs]
        assert tuple(value.name for value in graph.graph.output) == spec.outputs
        for value, tensor in zip(graph.graph.input, spec.inputs, strict=True):
            axes = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            assert axes == list(tensor.axes)
            assert np.dtype(tensor.dtype) == onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            is_states = value.name == "hidden_states"
            wanted_type = onnx.TensorProto.FLOAT if is_states else onnx.TensorProto.INT64
            assert value.type.tensor_type.elem_type == wanted_type
            sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            fixed = [size for size in sizes if size]
            assert fixed == ([hidden] if is_states else [2] if value.name == "sentence_spans" else [])
            names = [dim.dim_param for dim in value.type.tensor_type.shape.dim if dim.dim_param]
            assert len(set(names)) == len(names)
            assert all(name.replace("_", "").isalpha() for name in names)  # no s77


def test_nothing_of_the_tracer_is_left(staged):
    """Its stack traces name folders of the machine that exported."""
    for graph in staged[2]:
        noted = [graph, graph.graph, *graph.graph.node, *graph.graph.input, *graph.graph.output]
        assert not any(part.metadata_props or part.doc_string for part in noted)
        assert not graph.graph.value_info


def test_weights_are_the_models_own(tiny_model):
    """Until they are written nothing of them is copied: a changed parameter is in the graph."""
    model = tiny_model(layers=2)
    graph = trace_dense(model)
    name = "model.backbone.encoder.layer.0.output.dense.bias"
    with torch.no_grad():
        model.backbone.encoder.layer[0].output.dense.bias.fill_(7)
    assert (graph.graph.initializers[name].const_value.numpy() == 7).all()


def test_examples_are_valid_inputs_with_axes_of_different_sizes(staged):
    """What a stage is traced with; equal sizes could be taken for one axis, 1 for a fixed one."""
    model, by_budget, _ = staged
    for index in range(model.num_stages):
        spec, given = stage_spec(model, index, by_budget), example_inputs(model, index)
        sizes = {}
        for tensor in spec.inputs:
            assert tuple(given[tensor.name].shape) == tuple(
                axis if isinstance(axis, int) else sizes.setdefault(axis, given[tensor.name].shape[place])
                for place, axis in enumerate(tensor.axes)
            )
            assert str(given[tensor.name].dtype).removeprefix("torch.") == tensor.dtype
        assert len(set(sizes.values())) == len(sizes)
        assert min(sizes.values()) > 1


def test_every_spec_is_chained(staged):
    """What a stage takes over, the one before gives."""
    model, by_budget, _ = staged
    told = {"rows", "keep", "budget"}
    for index in range(1, model.num_stages):
        before, now = stage_spec(model, index - 1, by_budget), stage_spec(model, index, by_budget)
        given = {name.removeprefix(NEXT) for name in before.outputs if name.startswith(NEXT)}
        taken, takes_before = ({tensor.name for tensor in spec.inputs} for spec in (now, before))
        assert taken - told - set(model.request_inputs(index)) == given
        assert "keep_count" in before.outputs
        assert ("budget" in takes_before) is by_budget


def inputs_of(model, rng, batch, length):
    several = model.task.sequences_axis is not None
    shape = (batch, 3, length) if several else (batch, length)
    lengths = rng.integers(1, length + 1, shape[:-1])
    lengths.flat[0] = length
    mask = (np.arange(length) < lengths[..., None]).astype(np.int64)
    real = lengths.max(-1) if several else lengths
    return {
        "input_ids": rng.integers(0, model.config.backbone.vocab_size, shape),
        "attention_mask": mask,
        "token_type_ids": rng.integers(0, 2, shape),
        "question_ends": np.array([rng.integers(1, row + 1) for row in real]),
        "sentence_spans": rng.integers(-1, real[:, None, None], (batch, 5, 2)),
        "candidate_positions": rng.integers(-1, real[:, None], (batch, 3)),
    }, real


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 2), (2, 12), (3, 7), (5, 33), (1, 64)])
def test_stages_run_at_every_size_as_the_reference(staged, session_of, batch, length):
    """Along the chain: some of the rows in any order, exactly enough tokens, or more than enough."""
    model, by_budget, graphs = staged
    rng = np.random.default_rng(batch * 100 + length)
    request, real = inputs_of(model, rng, batch, length)
    carried, rows = {}, np.arange(batch)
    for index, graph in enumerate(graphs):
        names = [value.name for value in graph.graph.input]
        feeds = {name: request[name][rows] for name in model.request_inputs(index)} | carried
        if by_budget and "budget" in names:
            feeds["budget"] = np.maximum(1, -(-real[rows] // (index + 2)))
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
            wanted = run_stage(model, index, tensors, with_budget if by_budget else by_policy).tensors
        outputs = [value.name for value in graph.graph.output]
        given = dict(zip(outputs, session_of(graph).run(outputs, {name: feeds[name] for name in names}), strict=True))
        for name, array in given.items():
            tensor = wanted[name.removeprefix(NEXT)].numpy()
            assert array.shape == tensor.shape
            assert array.dtype == tensor.dtype
            if array.dtype == np.int64:
                np.testing.assert_array_equal(array, tensor)
            else:
                np.testing.assert_allclose(array, tensor, rtol=0, atol=2e-5)
        if index == len(graphs) - 1:
            break
        carried = {name.removeprefix(NEXT): array for name, array in given.items() if name.startswith(NEXT)}
        counts, width = given["keep_count"], given["next_keep_mask"].shape[1]
        chosen = rng.permutation(len(rows))[: max(1, len(rows) - 1)]
        least = int(counts[chosen].max())
        carried |= {"rows": chosen, "keep": np.zeros(rng.integers(least, width + 1), dtype=np.int64)}
        rows = rows[chosen]


def test_tracing_leaves_the_model_as_it_was(traced, golden, answer):
    case = golden("bert-sequence-classification")
    traced(case.name).stages(True)
    row = case.rows[2]
    outputs, kept = answer(case.model, row.inputs)
    np.testing.assert_allclose(outputs["logits"], row.outputs["logits"], rtol=0, atol=1e-4)
    assert [step[0] for step in kept] == row.kept
    assert case.model.num_stages == 3


@pytest.mark.parametrize("task", ["multiple-choice", "token-classification"])
def test_the_dense_graph_is_the_model_without_its_selectors(
    tiny_model, random_rows, batch_of, answer, session_of, task
):
    model = tiny_model(task, layers=2)
    graph = to_message(trace_dense(model))
    assert model.num_stages == 2  # the selectors are back
    onnx.checker.check_model(graph, full_check=True)
    assert {node.domain for node in graph.graph.node} == {""}
    assert not any("selectors" in value.name for value in graph.graph.initializer)
    assert "question_ends" not in [value.name for value in graph.graph.input]
    dense = tiny_model(task, layers=2, reduction_layers=[])
    dense.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("selectors.")})
    session = session_of(graph)
    for lengths in ([5], [1, 30, 17]):
        batch = batch_of(random_rows(model, lengths))
        wanted, _ = answer(dense, batch)
        (logits,) = session.run(None, {value.name: batch[value.name] for value in graph.graph.input})
        np.testing.assert_allclose(logits, wanted["logits"], rtol=0, atol=2e-5)


def test_the_kept_count_is_not_baked_in(traced, session_of):
    """A `.item()` in the traced code would fix it to the example's."""
    stages = traced("bert-sequence-classification").stages(False)
    graph = stages[1]
    session = session_of(graph)
    hidden = traced("bert-sequence-classification").model.config.backbone.hidden_size
    widths = []
    for batch, kept in itertools.product((1, 4), (1, 3, 9, 20)):
        feeds = {
            "hidden_states": np.random.default_rng(0).standard_normal((batch, 20, hidden)).astype(np.float32),
            "keep_mask": np.tile(np.arange(20) < kept, (batch, 1)).astype(np.int64),
            "rows": np.arange(batch),
            "keep": np.zeros(kept, dtype=np.int64),
        }
        widths.append((*session.run(["next_hidden_states"], feeds)[0].shape[:2], batch, kept))
    assert all((batch, kept) == (given_batch, given_kept) for batch, kept, given_batch, given_kept in widths)
