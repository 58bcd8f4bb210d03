"""What is loaded is what the manifest vouches for: no flipped bits, and no tensors or files that it does not name."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

import trbert_deploy
from trbert_deploy.bundle.onnx_external import external_files
from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import BundleError

NAME = "bert-sequence-classification"
IDS = [[2, 5, 9, 3]]


@pytest.fixture
def bundle(golden_bundle, tmp_path) -> Path:
    return shutil.copytree(golden_bundle(NAME), tmp_path / "bundle")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def vouch_for(bundle: Path, *names: str) -> None:
    """Make the manifest say what the files are, as one does who means harm."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in names:
        content = (bundle / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({}, "stage_1.onnx"),
        ({"mode": "fused"}, "model.onnx"),
        ({"mode": "dense"}, "dense.onnx"),
        ({"runtime": "torch"}, "reference/model.safetensors"),
        ({"runtime": "torch"}, "reference/config.json"),
    ],
)
def test_a_flipped_bit_is_found_at_load_where_it_would_be_read(bundle, options, read):
    for name in ("model.onnx", "stage_1.onnx", "dense.onnx", "reference/model.safetensors"):
        if not name.startswith(read.partition("/")[0]):
            flip_a_bit(bundle / name)
    trbert_deploy.load(bundle, **options).close()  # what it does not read is not hashed
    flip_a_bit(bundle / read)
    with pytest.raises(BundleError, match=f"damaged: the sha256 of {read} is not the manifest's"):
        trbert_deploy.load(bundle, **options)


def test_the_check_can_be_left_out(bundle):
    path = bundle / "stage_0.onnx"
    content = path.read_bytes()
    weights = onnx.load(path).graph.initializer
    tensor = max(weights, key=lambda weight: len(weight.raw_data)).raw_data
    path.write_bytes(content.replace(tensor, bytes([tensor[0] ^ 1]) + tensor[1:]))
    with trbert_deploy.load(bundle, verify=False) as engine:
        engine.run(input_ids=IDS)  # it answers: that is why the check is not left out unless asked for


def test_a_tokenizer_is_hashed_too(text_bundle, tmp_path):
    bundle = shutil.copytree(text_bundle("sequence-classification"), tmp_path / "bundle")
    path = bundle / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace("[UNK]", "[UNX]"))
    with pytest.raises(BundleError, match=r"the sha256 of tokenizer/tokenizer\.json"):
        trbert_deploy.load(bundle)


def test_a_reference_with_a_file_that_the_manifest_does_not_name(bundle):
    (bundle / "reference" / ".DS_Store").touch()
    load_checkpoint(bundle)
    shutil.copy(bundle / "reference" / "model.safetensors", bundle / "reference" / "pytorch_model.bin")
    for read in (load_checkpoint, lambda folder: trbert_deploy.load(folder, runtime="torch", verify=False)):
        with pytest.raises(BundleError, match=r"holds reference/pytorch_model\.bin, which its manifest does not name"):
            read(bundle)


def test_the_reference_of_a_damaged_bundle_is_no_checkpoint(bundle):
    flip_a_bit(bundle / "reference" / "model.safetensors")
    with pytest.raises(BundleError, match=r"the sha256 of reference/model\.safetensors"):
        load_checkpoint(bundle)


# -- tensors in other files ---------------------------------------------------------------------------------------


def with_external_tensors(bundle: Path, location: str) -> None:
    """Move stage 1's tensors to another file, and let the manifest vouch for the graph alone."""
    graph = onnx.load(bundle / "stage_1.onnx")
    onnx.save(graph, bundle / "stage_1.onnx", save_as_external_data=True, location=location, size_threshold=100)
    vouch_for(bundle, "stage_1.onnx")


@pytest.mark.parametrize("verify", [True, False])
def test_tensors_in_a_file_that_the_manifest_does_not_name(bundle, verify):
    with_external_tensors(bundle, "weights.bin")
    with pytest.raises(
        BundleError, match=r"stage_1\.onnx takes tensors from weights\.bin, which the manifest does not"
    ):
        trbert_deploy.load(bundle, verify=verify)
    trbert_deploy.load(bundle, mode="fused", verify=verify).close()


def test_tensors_in_a_file_that_it_does_name(bundle, golden_bundle):
    with trbert_deploy.load(golden_bundle(NAME)) as engine:
        wanted = engine.run(input_ids=IDS)["logits"]
    with_external_tensors(bundle, "weights.bin")
    vouch_for(bundle, "weights.bin")
    with trbert_deploy.load(bundle) as engine:
        np.testing.assert_array_equal(engine.run(input_ids=IDS)["logits"], wanted)
    flip_a_bit(bundle / "weights.bin")
    with pytest.raises(BundleError, match=r"the sha256 of weights\.bin"):
        trbert_deploy.load(bundle)


def external(name: str, location: str = "other.bin") -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    set_external_data(tensor, location, offset=0, length=16)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def graph_of(nodes, weights=(), **more):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    return helper.make_graph(nodes, "g", [value], [value], list(weights), **more)


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def sparse() -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(external("v"), numpy_helper.from_array(np.arange(4), "i"), [4])


def branching(inner: onnx.GraphProto) -> onnx.GraphProto:
    return graph_of([helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=graph_of([]))])


def function() -> onnx.ModelProto:
    opset = [helper.make_opsetid("", 20)]
    body = helper.make_function("d", "f", ["x"], ["c"], [constant(external("w"))], opset)
    return helper.make_model(graph_of([]), functions=[body])


PLACES = {
    "an initializer": helper.make_model(graph_of([], [external("w")])),
    "a sparse initializer": helper.make_model(graph_of([], sparse_initializer=[sparse()])),
    "an attribute": helper.make_model(graph_of([constant(external("w"))])),
    "a list in an attribute": helper.make_model(graph_of([helper.make_node("F", [], ["y"], ts=[external("w")])])),
    "a sparse attribute": helper.make_model(graph_of([helper.make_node("Constant", [], ["y"], sparse_value=sparse())])),
    "a branch in a branch": helper.make_model(branching(branching(graph_of([], [external("w")])))),
    "a function": function(),
}


@pytest.mark.parametrize("place", PLACES)
def test_wherever_a_tensor_can_stand(place, tmp_path):
    (tmp_path / "graph.onnx").write_bytes(PLACES[place].SerializeToString())
    assert external_files(tmp_path / "graph.onnx") == ["other.bin"]


def test_training_graphs_count(tmp_path):
    model = helper.make_model(graph_of([]))
    model.training_info.add().algorithm.CopyFrom(graph_of([], [external("w"), external("v", "sub/third.bin")]))
    (tmp_path / "graph.onnx").write_bytes(model.SerializeToString())
    assert external_files(tmp_path / "graph.onnx") == ["other.bin", "sub/third.bin"]


def test_an_exported_graph_holds_its_own_tensors(golden_bundle):
    for path in golden_bundle(NAME).glob("*.onnx"):
        assert external_files(path) == []


def test_a_tensor_that_does_not_say_where_it_is(tmp_path):
    tensor = external("w")
    del tensor.external_data[:]
    (tmp_path / "graph.onnx").write_bytes(helper.make_model(graph_of([], [tensor])).SerializeToString())
    with pytest.raises(BundleError, match="in another file, but not said in which"):
        external_files(tmp_path / "graph.onnx")


def test_graphs_without_end(tmp_path):
    graph = graph_of([])
    for _ in range(25):
        graph = branching(graph)
    (tmp_path / "graph.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(BundleError, match="nested too deeply"):
        external_files(tmp_path / "graph.onnx")
