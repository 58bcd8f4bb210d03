"""The engine cache and what of it a runtime takes, with engines that TensorRT-RTX built here."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from trbert_deploy.api import Engine, load
from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import BundleError, DeviceError, TRBertError
from trbert_deploy.runtimes.engines_folder import engines_folder
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt import building, cached_build, cuda
from trbert_deploy.runtimes.tensorrt.builder import build_engine
from trbert_deploy.runtimes.tensorrt.building import build_engines
from trbert_deploy.runtimes.tensorrt.device import Gpu
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineCache, EngineError, read_engine, read_header
from trbert_deploy.runtimes.tensorrt.engine_choice import select_engines
from trbert_deploy.runtimes.tensorrt.flavor import find_flavor
from trbert_deploy.runtimes.tensorrt.gpu import Here, find_gpu, invalid_because
from trbert_deploy.runtimes.tensorrt.listing import list_engines
from trbert_deploy.runtimes.tensorrt.runtime import TensorRTRuntime, open_runtime
from trbert_deploy.runtimes.tensorrt_checks import BuildError
from trbert_deploy.verification import verify_engine

NAME = "distilbert3-sequence-classification"
SHAPES = ShapeBuckets(lengths=(64,), kept=((32,),), rows=1, entries=1)
OTHER = ShapeBuckets(lengths=(32,), kept=((32,),), rows=1, entries=1)
ADA = Gpu("an Ada", "8.9", "13.0")

no_gpu = pytest.mark.skipif(find_gpu() is not None, reason="is about machines without a GPU")


@pytest.fixture(scope="module")
def bundle(golden_bundle):
    return open_bundle(golden_bundle(NAME))


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


def test_two_builders_at_once_build_each_engine_once(bundle, tmp_path):
    folder = tmp_path / "engines"
    arguments = ["build", str(bundle.folder), "--flavor", "rtx", "--buckets", "48", "--max-batch", "1", "--json"]
    command = [sys.executable, "-m", "trbert_deploy", *arguments, "--engines", str(folder)]
    root = Path(__file__).parents[3]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root) for _ in range(2)
    ]
    reports = []
    for process in both:
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        reports.append(json.loads(stdout))
    for first, second in zip(*(report["engines"] for report in reports), strict=True):
        assert first["file"] == second["file"]
        assert first["reused"] != second["reused"]
        read_engine(folder / first["file"])


def test_a_killed_builder_leaves_no_engine(bundle, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cached_build, "build_engine", killed)
    with pytest.raises(KeyboardInterrupt):
        build_engines(bundle, SHAPES, flavor="rtx", folder=tmp_path)
    assert list(EngineCache(tmp_path)) == []


def test_engines_lie_beside_the_bundle(bundle):
    assert engines_folder(bundle) == bundle.folder.resolve().parent / f"{bundle.folder.name}.engines"


def test_a_folder_that_cannot_be_written(bundle, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be written") as caught:
        build_engines(bundle, SHAPES, flavor="rtx", folder=tmp_path / "file")
    assert "--engines" in caught.value.hint


def test_a_damaged_bundle_is_not_built(golden_bundle, tmp_path):
    copy = Path(shutil.copytree(golden_bundle(NAME), tmp_path / "bundle"))
    content = bytearray((copy / "stage_1.onnx").read_bytes())
    content[-9] ^= 1
    (copy / "stage_1.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"sha256 of stage_1\.onnx"):
        build_engines(open_bundle(copy), SHAPES, flavor="rtx", folder=tmp_path / "engines")


def test_the_fused_graph_of_policy_mode_is_refused(bundle, tmp_path):
    with pytest.raises(BuildError, match="in policy mode the number of tokens") as caught:
        build_engines(bundle, SHAPES, flavor="rtx", folder=tmp_path, fused=True)
    assert "the stages are made for that" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_the_fused_graph_of_multiple_choice_is_refused_in_budget_mode_too(bundle, tmp_path):
    manifest = bundle.manifest
    changes = {
        "task": dataclasses.replace(manifest.task, name="multiple-choice", protected_from="question_ends"),
        "reduction": dataclasses.replace(manifest.reduction, mode="budget", fractions=(0.5,)),
    }
    several = dataclasses.replace(bundle, manifest=manifest.model_copy(update=changes))
    with pytest.raises(BuildError, match="in task multiple-choice, where every token from question_ends on is kept"):
        build_engines(several, SHAPES, flavor="rtx", folder=tmp_path, fused=True)
    assert list(tmp_path.iterdir()) == []


def test_the_full_tensorrt_builds_on_its_gpu_only(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "find_gpu", lambda: None)
    monkeypatch.setattr(building, "find_flavor", lambda name: dataclasses.replace(find_flavor("rtx"), name="tensorrt"))
    with pytest.raises(BuildError, match="there is none here") as caught:
        build_engines(bundle, SHAPES, folder=tmp_path)
    assert "--flavor rtx" in caught.value.hint


def test_a_label_that_is_not_the_graphs_is_complained_about(golden_bundle, tmp_path):
    copy = Path(shutil.copytree(golden_bundle(NAME), tmp_path / "bundle"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"precision": "fp16"}))
    with pytest.raises(BundleError, match=r"says fp16, but stage_0\.onnx, stage_1\.onnx computes in fp32"):
        build_engines(open_bundle(copy), SHAPES, flavor="rtx", folder=tmp_path / "engines")


def test_an_engine_of_another_precision_than_its_graph_is_not_kept(bundle, tmp_path, monkeypatch):
    def in_half(*arguments):
        return dataclasses.replace(build_engine(*arguments), precision="fp16")

    monkeypatch.setattr(cached_build, "build_engine", in_half)
    with pytest.raises(BuildError, match=r"made fp16 of stage_0\.onnx, which is fp32"):
        build_engines(bundle, SHAPES, flavor="rtx", folder=tmp_path)
    assert list(EngineCache(tmp_path)) == []


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


# -- the runtime over engines in memory, and where there is a GPU over real ones -----------------------------------


@pytest.fixture(params=["in memory", pytest.param("on a GPU", marks=pytest.mark.gpu)])
def runtime(request, bundle, host_engines, host_device, tmp_path):
    shapes = ShapeBuckets(lengths=(16, 96), kept=((8, 96),), rows=4, entries=1)
    if request.param == "on a GPU":
        build_engines(bundle, shapes, folder=tmp_path)
        return open_runtime(bundle, LoadOptions(runtime="trt", engines=tmp_path))
    graphs = [onnx.load(bundle.path(graph.file)) for graph in bundle.manifest.stages]
    engines = host_engines(graphs, shapes, bundle.manifest.task, host_device, full_length=False)
    return TensorRTRuntime(host_device, engines, shapes, bundle)


def test_golden_vectors_replay(bundle, runtime, host_device):
    with Engine(bundle, runtime) as engine:
        assert verify_engine(engine).passed
    assert host_device.blocks == {}
    with pytest.raises(TRBertError, match="closed"):
        runtime.run(None, want_kept=False)


def test_callers_at_once_have_workers_of_their_own(bundle, runtime, host_device):
    engine = Engine(bundle, runtime)
    rng = np.random.default_rng(0)
    largest = bundle.manifest.task.inputs[0].maximum
    batches = [rng.integers(0, largest + 1, (3, length)) for length in (9, 30, 50, 14) for _ in range(3)]
    wanted = [engine.run(input_ids=batch)["logits"] for batch in batches]
    wrong = []

    def caller(start):
        for number in range(start, start + 2 * len(batches)):
            place = number % len(batches)
            if not np.allclose(engine.run(input_ids=batches[place])["logits"], wanted[place], atol=1e-5):
                wrong.append(place)

    threads = [threading.Thread(target=caller, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 1 <= len(runtime._free) <= 4
    engine.close()
    assert host_device.blocks == {}


@pytest.mark.gpu
@pytest.mark.parametrize(("mode", "keep"), [("dense", None), ("staged", "0.25"), ("fused", "0.25")])
def test_on_a_gpu_the_other_modes_answer_as_onnx_runtime(golden_bundle, tmp_path, mode, keep):
    bundle = open_bundle(golden_bundle(NAME, keep))
    shapes = ShapeBuckets(lengths=(16, 96), kept=((8, 96),), rows=4, entries=1)
    build_engines(bundle, shapes, folder=tmp_path, fused=mode == "fused")
    ids = np.random.default_rng(0).integers(0, bundle.manifest.task.inputs[0].maximum + 1, (7, 40))
    with load(bundle, runtime="trt", mode=mode, engines=tmp_path) as engine, load(bundle, mode=mode) as wanted:
        for _ in range(3):  # plain, captured, launched again
            given, exact = (one.run(input_ids=ids, return_selection=True) for one in (engine, wanted))
            np.testing.assert_allclose(given["logits"], exact["logits"], atol=1e-4)
            assert [[row.tolist() for row in step] for step in given.selection] == [
                [row.tolist() for row in step] for step in exact.selection
            ]
