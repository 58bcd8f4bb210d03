"""The whole way: upstream's checkpoints, exported by the command line, held to upstream's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import trbert_deploy

RUNTIMES = (("ort", "staged"), ("ort", "fused"), ("torch", "staged"))


@pytest.fixture(params=RUNTIMES, ids=[" ".join(pair) for pair in RUNTIMES])
def engine(request, golden_name, golden_bundle):
    runtime, mode = request.param
    with trbert_deploy.load(golden_bundle(golden_name), runtime=runtime, mode=mode) as loaded:
        yield loaded


def test_every_row_has_upstreams_answer_and_kept_sets(engine, golden_name, golden):
    for row in golden(golden_name).rows:
        out = engine.run(**row.inputs, return_selection=True)
        for name, wanted in row.outputs.items():
            np.testing.assert_allclose(out[name], wanted, atol=1e-4, rtol=0)
        if row.kept is not None:
            kept = [rows[0].tolist() for rows in out.selection]
            assert kept[: len(row.kept)] == row.kept
            assert all(positions == [0] for positions in kept[len(row.kept) :])  # upstream skips the step


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
def test_rows_padded_together_answer_as_alone(engine, golden_name, golden, batch_of, order):
    rows = [golden(golden_name).rows[place] for place in order]
    together = engine.run(**batch_of([row.inputs for row in rows]), return_selection=True)
    task = engine.manifest.task
    for place, row in enumerate(rows):
        alone = engine.run(**row.inputs, return_selection=True)
        for name, wanted in alone.items():
            size = wanted.shape[1]  # tokens, sentences or candidates: the batch is as wide as its widest row
            np.testing.assert_allclose(together[name][place, :size], wanted[0], atol=1e-5)
            if task.output(name).per_token:
                assert (together[name][place, size:] == task.output(name).padding).all()
        for reduction, kept in enumerate(alone.selection):
            assert together.selection[reduction][place].tolist() == kept[0].tolist()


def test_graphs_hold_standard_operators_only(golden_name, golden_bundle):
    bundle = golden_bundle(golden_name)
    graphs = sorted(path.name for path in bundle.glob("*.onnx"))
    stages = trbert_deploy.bundle.open_bundle(bundle).manifest.stages
    assert graphs == sorted(["dense.onnx", "model.onnx", *(stage.file for stage in stages)])
    for name in graphs:
        graph = onnx.load(bundle / name)
        onnx.checker.check_model(graph, full_check=True)
        assert {node.domain for node in graph.graph.node} == {""}
        assert not graph.functions
        assert [opset.domain for opset in graph.opset_import] == [""]


@pytest.mark.parametrize("mode", ["staged", "fused"])
@pytest.mark.parametrize("name", ["bert-sequence-classification", "bert-wikihop", "bert-multiple-choice"])
def test_budget_keeps_exactly_the_fraction(name, golden_bundle, golden, batch_of, mode):
    bundle = golden_bundle(name, "0.5,0.2")
    rows = golden(name).rows
    with trbert_deploy.load(bundle, mode=mode) as engine, trbert_deploy.load(bundle, runtime="torch") as torch:
        batch = batch_of([row.inputs for row in rows])
        out, reference = engine.run(**batch, return_selection=True), torch.run(**batch, return_selection=True)
    for output, wanted in reference.items():
        np.testing.assert_allclose(out[output], wanted, atol=1e-4, rtol=0)
    for per_mille, kept, wanted_kept in zip((500, 200), out.selection, reference.selection, strict=True):
        assert [positions.tolist() for positions in kept] == [positions.tolist() for positions in wanted_kept]
        for row, positions in zip(rows, kept, strict=True):
            length = row.inputs["attention_mask"].reshape(-1, row.inputs["input_ids"].shape[-1]).sum(-1).max()
            protected = 1 + length - row.inputs["question_ends"][0] if "question_ends" in row.inputs else 1
            assert len(positions) == max(-(-length * per_mille // 1000), protected)


def test_dense_graph_is_the_model_without_reduction(golden_bundle, golden):
    import torch

    case = golden("bert-sequence-classification")
    dense = case.model.without_reduction()
    with trbert_deploy.load(golden_bundle(case.name), mode="dense") as engine:
        for row in case.rows:
            with torch.inference_mode():
                wanted = dense(**{name: torch.from_numpy(array) for name, array in row.inputs.items()})
            np.testing.assert_allclose(engine.run(**row.inputs)["logits"], wanted.outputs["logits"], atol=1e-4)


def test_bundle_is_safe_to_copy(golden_bundle, golden, tmp_path: Path):
    import shutil

    moved = tmp_path / "elsewhere"
    shutil.copytree(golden_bundle("bert-sequence-classification"), moved)
    row = golden("bert-sequence-classification").rows[2]
    with trbert_deploy.load(moved, verify=True) as engine:
        np.testing.assert_allclose(engine.run(**row.inputs)["logits"], row.outputs["logits"], atol=1e-4)
