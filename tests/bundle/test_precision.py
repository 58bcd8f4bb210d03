"""What graphs compute in, read off graphs that others made: ONNX Runtime's quantizers and converter."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

import trbert_deploy
from trbert_deploy.bundle import open_bundle
from trbert_deploy.bundle.precision import graph_precision, require_precision
from trbert_deploy.core.errors import BundleError

NAME = "distilbert3-sequence-classification"


@pytest.fixture
def product(tmp_path):
    """states [n, 8] times a weight [8, 8]."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32), "w")],
    )
    path = tmp_path / "product.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_fp32(product):
    read = graph_precision(product)
    assert (read.name, read.weights) == ("fp32", {"fp32": 64})


def test_fp16_by_onnx_runtimes_converter(product):
    onnx.save(convert_float_to_float16(onnx.load(product), keep_io_types=True), product)
    read = graph_precision(product)
    assert (read.name, read.weights) == ("fp16", {"fp16": 64})


def test_int8_by_onnx_runtimes_dynamic_quantizer(product):
    quantize_dynamic(product, product, weight_type=QuantType.QInt8)
    read = graph_precision(product)
    assert (read.name, read.weights) == ("int8", {"int8": 64})


def test_integers_that_are_multiplied_as_floats_are_no_int8(product):
    model = onnx.load(product)
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(np.ones((8, 8), np.int8), "w"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "scale"))
    model.graph.node[0].input[1] = "float"
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["w", "scale"], ["float"]))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, product)
    read = graph_precision(product)
    assert (read.name, read.weights) == ("fp32", {"fp32": 64})


@pytest.fixture
def mislabelled(golden_bundle, tmp_path):
    folder = shutil.copytree(golden_bundle(NAME), tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["precision"] = "fp16"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("mode", ["staged", "fused", "dense"])
def test_a_wrong_label_is_refused_by_the_loader(mislabelled, mode):
    with pytest.raises(BundleError, match=r"says fp16, but .*onnx computes in fp32"):
        trbert_deploy.load(mislabelled, mode=mode)


def test_a_wrong_label_is_shown_and_complained_about(mislabelled, cli):
    result = cli("inspect", mislabelled)
    assert "fp32" in result.stdout
    assert result.exit_code == 1
    assert "says fp16, but stage_0.onnx, stage_1.onnx computes in fp32" in str(result.exception)


def test_the_exporters_label_is_right(golden_bundle):
    bundle = open_bundle(golden_bundle(NAME))
    require_precision(bundle, [graph.file for graph in bundle.manifest.stages])
    with pytest.raises(BundleError):
        require_precision(open_bundle(golden_bundle(NAME)), ["nothing.onnx"])
