"""Outlines against the onnx package's own reading of the same files."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trbert_deploy.bundle.onnx_summary import read_outline
from trbert_deploy.core.errors import BundleError


def test_an_exported_graph_reads_as_the_onnx_package_reads_it(golden_bundle):
    folder = golden_bundle("distilbert3-sequence-classification")
    for path in sorted(folder.glob("*.onnx")):
        graph, outline = onnx.load(path).graph, read_outline(path)
        nodes = [(node.op_type, list(node.input), list(node.output)) for node in graph.node]
        assert [(node.operator, node.inputs, node.outputs) for node in outline.nodes] == nodes
        weights = {weight.name: (weight.data_type, tuple(weight.dims)) for weight in graph.initializer}
        assert {name: (weight.type, weight.shape) for name, weight in outline.weights.items()} == weights


def graph_of(nodes, weights):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    return helper.make_model(helper.make_graph(nodes, "g", [value], [value], weights))


def test_large_sizes_foreign_domains_and_names_beyond_ascii(tmp_path):
    weights = [
        numpy_helper.from_array(np.zeros((300, 2), np.float16), "größe"),
        helper.make_tensor("listed", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0]),  # float_data, not raw
        numpy_helper.from_array(np.float32(1), "scalar"),
    ]
    nodes = [helper.make_node("Foo", ["x", "", "größe"], ["y", "z"], domain="com.example")]
    path = tmp_path / "graph.onnx"
    onnx.save(graph_of(nodes, weights), path)
    outline = read_outline(path)
    assert outline.nodes[0].operator == "com.example.Foo"
    assert outline.nodes[0].inputs == ["x", "", "größe"]
    assert outline.nodes[0].outputs == ["y", "z"]
    assert {name: (weight.type, weight.shape) for name, weight in outline.weights.items()} == {
        "größe": (TensorProto.FLOAT16, (300, 2)),
        "listed": (TensorProto.FLOAT, (3,)),
        "scalar": (TensorProto.FLOAT, ()),
    }


@pytest.mark.parametrize("content", [b"", b"not a graph at all", b"\x3a\x7f\x0a", b"\x08\x08", b"\xff" * 40])
def test_what_is_no_graph_is_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "graph.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"graph\.onnx is no ONNX graph that can be read"):
        read_outline(path)


def test_a_graph_that_was_cut_off(tmp_path, golden_bundle):
    whole = (golden_bundle("distilbert3-sequence-classification") / "stage_0.onnx").read_bytes()
    path = tmp_path / "graph.onnx"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="no ONNX graph"):
        read_outline(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BundleError, match="no ONNX graph that can be read"):
        read_outline(tmp_path / "graph.onnx")
