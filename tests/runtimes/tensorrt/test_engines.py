"""The engine cache and what of it a runtime takes, with engines that TensorRT-RTX built here."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from trbert_deploy.api import load
from trbert_deploy.core.errors import DeviceError
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt import cached_build, cuda
from trbert_deploy.runtimes.tensorrt.building import build_engines
from trbert_deploy.runtimes.tensorrt.device import Gpu
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineCache, EngineError, read_engine, read_header
from trbert_deploy.runtimes.tensorrt.engine_choice import select_engines
from trbert_deploy.runtimes.tensorrt.flavor import find_flavor
from trbert_deploy.runtimes.tensorrt.gpu import Here, find_gpu, invalid_because
from trbert_deploy.runtimes.tensorrt.listing import list_engines
from trbert_deploy.runtimes.tensorrt_checks import BuildError

SHAPES = ShapeBuckets(lengths=(64,), kept=((32,),), rows=1, entries=1)
OTHER = ShapeBuckets(lengths=(32,), kept=((32,),), rows=1, entries=1)
ADA = Gpu("an Ada", "8.9", "13.0")

no_gpu = pytest.mark.skipif(find_gpu() is not None, reason="is about machines without a GPU")


@pytest.fixture(scope="module")
def built(bundle, tmp_path_factory):
    """A folder of engines; tests must not change it."""
    folder = tmp_path_factory.mktemp("engines")
    return build_engines(bundle, SHAPES, flavor="rtx", folder=folder)


@pytest.fixture
def copied(built, tmp_path):
    return Path(shutil.copytree(built.folder, tmp_path / "engines"))


@pytest.fixture
def here():
    return Here({"rtx": find_flavor("rtx").version}, ADA)


def test_every_graph_has_an_engine_that_says_what_it_is(bundle, built):
    assert [engine.graph for engine in built.engines] == ["stage_0.onnx", "stage_1.onnx", "dense.onnx"]
    for engine in built.engines:
        header, serialized = read_engine(Path(built.folder) / engine.file)
        assert header.graph == engine.graph
        assert header.key.graph_sha256 == bundle.manifest.files[engine.graph].sha256
        assert header.key.tensorrt == built.tensorrt == find_flavor("rtx").version
        assert (header.shapes, header.key.precision, len(serialized)) == (SHAPES, "fp32", engine.bytes)
        graph = onnx.load(bundle.path(engine.graph), load_external_data=False).graph
        kinds = {TensorProto.FLOAT: "float", TensorProto.INT64: "int64", TensorProto.BOOL: "bool"}
        tensors = (*graph.input, *graph.output)
        assert header.types == {value.name: kinds[value.type.tensor_type.elem_type] for value in tensors}
        assert list(header.inputs) == [value.name for value in graph.input]
        assert not engine.reused


def test_the_second_build_builds_nothing(bundle, copied, monkeypatch):
    def never(*_):
        raise AssertionError("built again")

    monkeypatch.setattr(cached_build, "build_engine", never)
    again = build_engines(bundle, SHAPES, flavor="rtx", folder=copied)
    assert all(engine.reused for engine in again.engines)


def test_a_file_spells_its_header_as_files_did_at_first(built):
    """So that engines built then stay valid, and the C++ library reads both."""
    magic, line, _ = (Path(built.folder) / built.engines[0].file).read_bytes().split(b"\n", 2)
    header = json.loads(line)
    assert magic == b"TRBERT-DEPLOY-ENGINE-1"
    assert header["grid"] == {"lengths": [64], "kept": [[32]], "rows": 1, "items": 1}
    assert header["plan_bytes"] == built.engines[0].bytes
    assert {"graph", "key", "inputs", "types", "created", "seconds", "plan_sha256"} <= header.keys()
    axes = header["key"]["profiles"][0]["axes"]
    assert axes == {"batch": [1, 1, 1], "length": [1, 64, 64]}


@pytest.mark.parametrize("damage", ["flip", "cut", "header", "magic"])
def test_a_corrupt_engine_is_refused_with_the_reason_and_built_again(bundle, built, copied, here, damage):
    path = copied / built.engines[0].file
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-1000] ^= 1
    elif damage == "cut":
        del content[-1:]
    elif damage == "header":
        content[40] = 0
    else:
        content[0] = 0
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"sha256|bytes of engine|its header|no engine") as caught:
        read_engine(path)
    assert "trbert-deploy build" in caught.value.hint
    assert any(engine.file == path.name and engine.invalid for engine in list_engines(EngineCache(copied), bundle))
    said = []
    again = build_engines(bundle, SHAPES, flavor="rtx", folder=copied, say=said.append)
    assert [engine.reused for engine in again.engines] == [False, True, True]
    assert any("it is built again" in line for line in said)
    read_engine(path)


# -- which engines run here ------------------------------------------------------------------------------------


def test_engines_that_run_here_are_found(bundle, built, here):
    cache = EngineCache(Path(built.folder))
    files = [engine.file for engine in built.engines]
    assert [path.name for path in select_engines(cache, bundle, ["stage_0.onnx", "stage_1.onnx"], here)] == files[:2]
    assert [path.name for path in select_engines(cache, bundle, ["dense.onnx"], here)] == files[2:]


def test_of_several_builds_the_one_asked_for_last(bundle, copied, here):
    cache = EngineCache(copied)
    for shapes in (OTHER, SHAPES):
        build_engines(bundle, shapes, flavor="rtx", folder=copied)
        for path in copied.glob("*.engine"):  # file systems may count time coarsely
            os.utime(path, ns=(path.stat().st_mtime_ns,) * 2)
        for path in select_engines(cache, bundle, ["stage_0.onnx", "stage_1.onnx"], here):
            assert read_header(path).shapes == shapes


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gpu": None}, "there is no GPU here"),
        ({"gpu": Gpu("a Turing", "7.5", "13.0")}, "runs from compute capability 8.0 on"),
        ({"versions": {"rtx": "0.9"}}, "installed is 0.9"),
        ({"versions": {}}, "which is not installed"),
    ],
)
def test_engines_that_do_not_run_here_say_why(bundle, built, here, change, reason):
    cache = EngineCache(Path(built.folder))
    with pytest.raises(EngineError, match=reason) as caught:
        select_engines(cache, bundle, ["stage_0.onnx"], dataclasses.replace(here, **change))
    assert "trbert-deploy build" in caught.value.hint


def test_what_a_key_is_valid_for(bundle, built, here):
    header = read_header(Path(built.folder) / built.engines[0].file)

    def changed(**key):
        return header.model_copy(update={"key": header.key.model_copy(update=key)})

    assert invalid_because(header, bundle, here) is None
    assert invalid_because(changed(compute_capability="8.9", driver="13.0"), bundle, here) is None
    assert "built for compute capability 8.6" in invalid_because(changed(compute_capability="8.6"), bundle, here)
    assert "a driver for CUDA 12.8" in invalid_because(changed(driver="12.8"), bundle, here)
    assert "another stage_0.onnx" in invalid_because(changed(graph_sha256="0" * 64), bundle, here)
    changes = ({}, {"driver": "1"}, {"tensorrt": "1"}, {"workspace_mib": 1}, {"precision": "fp16"})
    assert len({changed(**one).key.digest for one in changes}) == len(changes)


def test_no_engines_at_all(bundle, tmp_path, here):
    with pytest.raises(EngineError, match="holds none") as caught:
        select_engines(EngineCache(tmp_path / "absent"), bundle, ["stage_0.onnx"], here)
    assert str(bundle.folder) in caught.value.hint


@no_gpu
def test_without_a_driver_or_gpu_the_error_says_so(bundle, built):
    with pytest.raises(DeviceError, match=r"no NVIDIA driver|sees no GPU"):
        load(bundle, runtime="trt", engines=built.folder)
    with pytest.raises(DeviceError, match=r"no NVIDIA driver|sees no GPU"):
        cuda.CudaDevice()
    with pytest.raises(DeviceError, match="device 'cpu'"):
        load(bundle, runtime="trt", device="cpu")
    with pytest.raises(BuildError, match="in policy mode"):
        load(bundle, runtime="trt", mode="fused")
