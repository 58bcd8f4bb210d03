"""Bundles in fp16 and int8 by the command line, from upstream's checkpoints, to the answers of their reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import trbert_deploy
from trbert_deploy.bench import BenchOptions, run_bench
from trbert_deploy.bundle import open_bundle
from trbert_deploy.bundle.precision import TOLERANCES, graph_precision
from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import CheckFailedError
from trbert_deploy.export.exporter import export_bundle
from trbert_deploy.export.graphs import Graphs

NAME = "distilbert3-sequence-classification"
CHECKPOINT = Path(__file__).parent.parent / "golden" / NAME


@pytest.fixture(scope="module")
def calibration_data(tmp_path_factory):
    rng = np.random.default_rng(11)
    path = tmp_path_factory.mktemp("calibration") / "rows.jsonl"
    rows = [{"input_ids": rng.integers(5, 90, length).tolist()} for length in rng.integers(3, 60, 70)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def exported(cli, tmp_path_factory, calibration_data, traced_once):
    folder = tmp_path_factory.mktemp("bundles")
    lines = {}
    for name, extra in {
        "fp16": ["--precision", "fp16"],
        "int8": ["--precision", "int8", "--calibration-data", calibration_data],
        "int8-part": [
            *("--precision", "int8", "--calibration-data", calibration_data),
            *("--fp32-layers", 1, "--int8-form", "tensorrt"),
        ],
    }.items():
        result = cli("export", CHECKPOINT, "--out", folder / name, "--with-dense", *extra)
        assert result.exit_code == 0, result.output
        lines[name] = result.stderr.splitlines()
    return folder, lines


@pytest.mark.parametrize("name", ["fp16", "int8", "int8-part"])
def test_every_graph_is_of_the_labels_precision(exported, name):
    bundle = open_bundle(exported[0] / name)
    label = bundle.manifest.precision
    assert label == name.partition("-")[0]
    assert list(bundle.damaged_files()) == []
    for file in ("stage_0.onnx", "stage_1.onnx", "model.onnx", "dense.onnx"):
        assert graph_precision(bundle.path(file)).name in ((label, "fp32") if name == "int8-part" else (label,))


def test_half_weights_take_half_the_room(exported, golden_bundle):
    whole = (golden_bundle(NAME) / "dense.onnx").stat().st_size
    weights = sum(graph_precision(golden_bundle(NAME) / "dense.onnx").weights.values())
    assert whole - (exported[0] / "fp16" / "dense.onnx").stat().st_size > 0.8 * 2 * weights


@pytest.mark.parametrize("mode", ["staged", "fused"])
@pytest.mark.parametrize("name", ["fp16", "int8", "int8-part"])
def test_engines_answer_upstreams_rows(exported, golden, name, mode):
    tolerance = TOLERANCES[name.partition("-")[0]]
    flipped = reached = 0
    with trbert_deploy.load(exported[0] / name, mode=mode) as engine:
        for row in golden(NAME).rows:
            out = engine.run(**row.inputs, return_selection=True)
            flips = [len(set(mine[0].tolist()) ^ set(kept)) for mine, kept in zip(out.selection, row.kept, strict=True)]
            flipped, reached = flipped + sum(flips), reached + row.inputs["input_ids"].shape[1]
            assert out["logits"].dtype == np.float32
            if not any(flips):
                np.testing.assert_allclose(out["logits"], row.outputs["logits"], rtol=0, atol=tolerance.outputs)
    assert flipped <= tolerance.flips * reached


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_rows_of_a_batch_do_not_change_each_other(exported, random_rows, batch_of, golden, name):
    rows = random_rows(golden(NAME).model, [40, 3, 17, 60])
    with trbert_deploy.load(exported[0] / name) as engine:
        together = engine.run(**batch_of(rows), return_selection=True)
        for place, row in enumerate(rows):
            alone = engine.run(**row, return_selection=True)
            np.testing.assert_allclose(together["logits"][place], alone["logits"][0], rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_verify_passes_against_the_references_answers(exported, cli, name, golden_bundle):
    result = cli("verify", exported[0] / name, "--json")
    assert result.exit_code == 0, result.output
    ours = json.loads((exported[0] / name / "golden.json").read_text())
    reference = json.loads((golden_bundle(NAME) / "golden.json").read_text())
    assert ours["batches"] == reference["batches"]
    assert (ours["tolerance"], ours["max_flips"]) == (TOLERANCES[name].outputs, TOLERANCES[name].flips)
    assert (reference["tolerance"], reference["max_flips"]) == (TOLERANCES["fp32"].outputs, 0)


def test_the_manifest_and_inspect_say_how(exported, cli, calibration_data):
    folder = exported[0] / "int8-part"
    facts = open_bundle(folder).manifest.quantization
    assert (facts.form, facts.calibration, facts.calibration_rows) == ("tensorrt", "rows.jsonl", 64)
    report = json.loads((folder / facts.sensitivity).read_text())
    assert report["rows"] == 6  # those that did not set the ranges
    assert facts.fp32_layers == [report["layers"][0]["layer"]]
    assert sorted(one["layer"] for one in report["layers"]) == [0, 1, 2]
    shown = cli("inspect", folder)
    assert shown.exit_code == 0
    words = "".join(shown.stdout.split())  # the terminal's width breaks lines
    assert f"layersleftinfloat32:{facts.fp32_layers[0]}" in words
    assert "seesensitivity.json" in words
    as_json = json.loads(cli("inspect", folder, "--json").stdout)
    assert as_json["graph_precisions"]["model.onnx"]["name"] == "int8"
    assert as_json["sensitivity"]["layers"] == report["layers"]


def test_bench_reports_flips_and_the_precision(exported):
    options = BenchOptions(iterations=1, warmup=0, batch_sizes=(2,), limit=6)
    report = run_bench(open_bundle(exported[0] / "int8"), options)
    assert report.model.precision == "int8"
    (reduction,) = report.quality.agreement.reductions
    assert 0 <= reduction.flip_percent <= 100 * TOLERANCES["int8"].flips


@pytest.mark.parametrize(("precision", "wrong"), [("fp16", 1.1), ("int8", 4.0)])
def test_a_wrong_graph_is_found_in_every_precision(
    tmp_path, monkeypatch, traced_once, calibration_data, precision, wrong
):
    """The scales of one layer's product are too large; nothing is left behind."""
    rightly = Graphs.apply

    def spoilt(graphs, pass_for):
        graphs = rightly(graphs, pass_for)
        for name, value in graphs.stages[0].graph.initializers.items():
            if "layer.0.ffn.lin2" in name and name.endswith(("lin2.weight", "lin2.weight_scale")):
                array = value.const_value.numpy()
                value.const_value = ir.tensor((array * wrong).astype(array.dtype), name=name)
        return graphs

    monkeypatch.setattr(Graphs, "apply", spoilt)
    data = calibration_data if precision == "int8" else None
    with pytest.raises(CheckFailedError, match=r"stage_0.onnx: .* differs from the PyTorch reference by"):
        export_bundle(load_checkpoint(CHECKPOINT), tmp_path / "bundle", precision=precision, calibration_data=data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--precision", "int8"], 1, "give some: --calibration-data FILE.jsonl"),
        (["--precision", "fp8"], 2, "'fp8' is not one of"),
        (["--fp32-layers", 1], 2, "go with --precision int8"),
        (["--precision", "fp16", "--int8-form", "tensorrt"], 2, "go with --precision int8"),
        (["--precision", "int8", "--calibration-data", "none.jsonl"], 1, "none.jsonl does not exist"),
        (["--precision", "int8", "--fp32-layers", 3], 1, "--fp32-layers takes 0 to 2"),
    ],
)
def test_what_does_not_go_together(cli, tmp_path, traced_once, arguments, code, message):
    result = cli("export", CHECKPOINT, "--out", tmp_path / "bundle", *arguments)
    assert result.exit_code == code
    assert message in " ".join((str(result.exception) + result.stderr).replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_empty_calibration_data(cli, tmp_path, traced_once):
    (tmp_path / "empty.jsonl").write_text("\n")
    out = tmp_path / "bundle"
    arguments = ["--precision", "int8", "--calibration-data", tmp_path / "empty.jsonl"]
    assert "has no lines" in str(cli("export", CHECKPOINT, "--out", out, *arguments).exception)
    assert not out.exists()
