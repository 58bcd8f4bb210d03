"""Every graph is written once, and nothing reads it before the check does, which reads it once."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import CheckFailedError, TRBertError
from trbert_deploy.export import exporter, write
from trbert_deploy.export.exporter import export_bundle
from trbert_deploy.export.graphs import Graphs
from trbert_deploy.export.write import write_graphs

pytestmark = pytest.mark.usefixtures("traced_once")

CHECKPOINT = Path(__file__).parent.parent / "golden" / "distilbert3-sequence-classification"
FILES = {"stage_0.onnx", "stage_1.onnx", "model.onnx", "dense.onnx"}

_heard: tuple[Path, list[tuple[str, str]]] | None = None


def _listen(event, arguments):
    """Python tells of every file that it opens, whoever asked for it."""
    if _heard is not None and event == "open" and str(arguments[0]).endswith(".onnx"):
        path, folder = Path(str(arguments[0])), _heard[0]
        if folder in path.parents:
            _heard[1].append((path.name, str(arguments[1])))


sys.addaudithook(_listen)  # for as long as the process lives


@pytest.fixture
def opened(tmp_path):
    """Names of the ONNX files that Python opens under `tmp_path` meanwhile, and how."""
    global _heard
    _heard = (tmp_path, [])
    yield _heard[1]
    _heard = None


@pytest.fixture
def calibration_data(tmp_path):
    rng = np.random.default_rng(11)
    rows = [{"input_ids": rng.integers(5, 90, length).tolist()} for length in rng.integers(3, 60, 70)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_graph_is_written_once_and_loaded_once(tmp_path, monkeypatch, opened, calibration_data, precision):
    sessions, before_check = [], []

    class Counting(onnxruntime.InferenceSession):
        def __init__(self, source, *arguments, **options):
            if not isinstance(source, bytes):
                sessions.append(Path(source).name)
            super().__init__(source, *arguments, **options)

    def check(*arguments):
        before_check.extend(opened)
        return real(*arguments)

    real = exporter.check_bundle
    monkeypatch.setattr(exporter, "check_bundle", check)
    monkeypatch.setattr("onnxruntime.InferenceSession", Counting)
    monkeypatch.setattr("trbert_deploy.runtimes.onnxruntime.sessions.InferenceSession", Counting)
    data = calibration_data if precision == "int8" else None
    bundle = export_bundle(
        load_checkpoint(CHECKPOINT),
        tmp_path / "bundle",
        with_dense=True,
        reference=False,
        precision=precision,
        calibration_data=data,
    )
    assert {graph.file for graph in bundle.manifest.graphs} == FILES
    assert Counter(before_check) == {(file, "w"): 1 for file in FILES}
    # From then on they are only read: one session each, beside the readers of operators and types, and the flush.
    assert Counter(sessions) == dict.fromkeys(FILES, 1)
    assert {mode for _, mode in opened[len(before_check) :]} == {"r"}


@pytest.fixture
def graph():
    """Doubles its input."""
    node = onnx.helper.make_node("Mul", ["x", "two"], ["y"], "double")
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y"))
    two = onnx.numpy_helper.from_array(np.float32([2.0]), "two")
    made = onnx.helper.make_graph([node], "g", [x], [y], [two])
    return ir.from_proto(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10))


def test_what_is_written_is_described_and_hashed(tmp_path, graph):
    described, files = write_graphs(Graphs((graph,), ("model.",), fused=graph.clone()), tmp_path)
    assert list(described) == list(files) == ["stage_0.onnx", "model.onnx"]
    content = (tmp_path / "stage_0.onnx").read_bytes()
    assert files["stage_0.onnx"].sha256 == hashlib.sha256(content).hexdigest()
    assert files["stage_0.onnx"].bytes == len(content)
    (taken,) = described["stage_0.onnx"].inputs
    assert (taken.name, taken.axes, taken.dtype) == ("x", ("batch", 4), "float32")
    assert onnx.load(tmp_path / "stage_0.onnx").graph.node[0].op_type == "Mul"


def test_an_invalid_graph_is_not_written(tmp_path, graph):
    next(iter(graph.graph)).op_type = "NoSuchOperator"
    with pytest.raises(CheckFailedError, match=r"stage_0\.onnx is not a valid ONNX graph: .*NoSuchOperator"):
        write_graphs(Graphs((graph,), ()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_types_that_do_not_fit_are_found(tmp_path, graph):
    graph.graph.inputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    with pytest.raises(CheckFailedError, match="is not a valid ONNX graph"):
        write_graphs(Graphs((graph,), ()), tmp_path)


def test_operators_beyond_the_standard_are_refused(tmp_path, graph):
    next(iter(graph.graph)).domain = "com.microsoft"
    with pytest.raises(CheckFailedError, match=r"operators outside ai\.onnx: com\.microsoft"):
        write_graphs(Graphs((graph,), ()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_too_large_for_a_file_is_refused(tmp_path, graph, monkeypatch):
    monkeypatch.setattr(write, "_MAX_GRAPH_BYTES", 10)
    with pytest.raises(TRBertError, match=r"stage_0\.onnx would take 0\.0 GiB, an ONNX file holds 2 GiB"):
        write_graphs(Graphs((graph,), ()), tmp_path)
    assert list(tmp_path.iterdir()) == []
