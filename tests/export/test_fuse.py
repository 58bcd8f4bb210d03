"""One graph of all stages: the reference's answers and kept sets, at every shape."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from trbert_deploy.core.selection import kept_positions
from trbert_deploy.export.fuse import KEEP_MASK_OUTPUT, fuse
from trbert_deploy.export.graphs import to_message

BUDGET = (0.4, 0.15)


@pytest.fixture(scope="module")
def fused(selecting, traced, session_of):
    name, keep = selecting
    graph = traced(name).fused(keep)
    return traced(name).model, keep, graph, session_of(graph)


def run(model, session, inputs):
    """Outputs by name, and kept positions [reduction][row]."""
    names = [value.name for value in session.get_inputs()]
    outputs = dict(
        zip(
            [value.name for value in session.get_outputs()],
            session.run(None, {name: inputs[name] for name in names}),
            strict=True,
        )
    )
    masks = [outputs.pop(KEEP_MASK_OUTPUT.format(index)) for index in range(1, model.num_stages)]
    assert {mask.dtype for mask in masks} == {np.dtype(np.int64)}
    chains = [
        kept_positions([mask[row] for mask in masks], model.full_length) for row in range(len(inputs["input_ids"]))
    ]
    return outputs, [[chain[step].tolist() for chain in chains] for step in range(len(masks))]


def test_the_graph_is_standard_and_valid(fused):
    model, _, graph, _ = fused
    onnx.checker.check_model(graph, full_check=True)
    assert {node.domain for node in graph.graph.node} == {""}
    assert [opset.domain for opset in graph.opset_import] == [""]
    names = [name for node in graph.graph.node for name in node.output if name]
    assert len(set(names)) == len(names)
    inputs = [value.name for value in graph.graph.input]
    assert not {"rows", "keep", "budget", "hidden_states", "keep_mask"} & set(inputs)
    wanted = [output.name for output in model.task.outputs]
    wanted += [KEEP_MASK_OUTPUT.format(index) for index in range(1, model.num_stages)]
    assert [value.name for value in graph.graph.output] == wanted


@pytest.mark.parametrize(
    "name", ["bert-sequence-classification", "bert-hotpot-question-answering", "distilbert-multiple-choice"]
)
def test_upstreams_rows(traced, session_of, golden, name):
    model, session = traced(name).model, session_of(traced(name).fused(()))
    for row in golden(name).rows:
        outputs, kept = run(model, session, row.inputs)
        for output, wanted in row.outputs.items():
            np.testing.assert_allclose(outputs[output], wanted, rtol=0, atol=1e-4)
        if row.kept is not None:
            assert [step[0] for step in kept[: len(row.kept)]] == row.kept


@pytest.mark.parametrize("lengths", [[1], [2], [41], [3, 64, 1, 17], [20] * 6], ids=str)
@pytest.mark.parametrize("extra", [0, 9])
def test_mixed_batches_are_the_reference(fused, random_rows, batch_of, answer, lengths, extra):
    model, keep, _, session = fused
    rows = random_rows(model, lengths, seed=len(lengths) + extra)
    limit = model.config.backbone.max_position_embeddings
    batch = batch_of(rows, width=min(limit, max(lengths) + extra))
    keep = keep[: model.num_stages - 1]
    wanted, wanted_kept = answer(model, batch, keep)
    outputs, kept = run(model, session, batch)
    assert kept == wanted_kept
    assert outputs.keys() == wanted.keys()
    for name in wanted:
        assert outputs[name].shape == wanted[name].shape
        np.testing.assert_allclose(outputs[name], wanted[name], rtol=0, atol=2e-5)


def test_the_stages_are_not_changed(traced):
    stages = traced("bert-sequence-classification").graphs(True).stages
    before = [to_message(stage).SerializeToString(deterministic=True) for stage in stages]
    fused = fuse(stages, BUDGET, traced("bert-sequence-classification").model.spec)
    to_message(fused)  # writing it does not change them either
    assert [to_message(stage).SerializeToString(deterministic=True) for stage in stages] == before


def test_weights_are_the_stages_own_and_not_copied(traced):
    stages = traced("bert-sequence-classification").graphs(True).stages
    fused = fuse(stages, BUDGET, traced("bert-sequence-classification").model.spec)
    tensors = {id(value.const_value) for stage in stages for value in stage.graph.initializers.values()}
    weights = [value for name, value in fused.graph.initializers.items() if not name.startswith("glue/")]
    assert len(weights) == len(tensors)
    assert {id(value.const_value) for value in weights} == tensors


@pytest.mark.parametrize("keep", [(0.000001, 0.000001), (1.0, 1.0), (0.29, 0.07), (0.333333, 0.333333)])
def test_budgets_count_exactly_inside_the_graph(traced, session_of, random_rows, batch_of, answer, keep):
    model = traced("bert-sequence-classification").model
    session = session_of(traced("bert-sequence-classification").fused(keep))
    batch = batch_of(random_rows(model, [96, 50, 7, 1]))
    wanted, wanted_kept = answer(model, batch, keep)
    outputs, kept = run(model, session, batch)
    assert kept == wanted_kept
    np.testing.assert_allclose(outputs["logits"], wanted["logits"], rtol=0, atol=2e-5)


def test_nothing_but_the_tie_rule_decides_between_equals(traced, session_of, random_rows, batch_of):
    model = traced("all-equal").model
    session = session_of(traced("all-equal").fused(BUDGET))
    _, kept = run(model, session, batch_of(random_rows(model, [20, 7, 1])))
    assert kept == [[list(range(8)), [0, 1, 2], [0]], [[0, 1, 2], [0, 1], [0]]]
