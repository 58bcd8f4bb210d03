"""TensorRT engines in C++: what Python's runtime takes, with engines that TensorRT-RTX built here.

Which engines run where, and workers over their shapes, are tested with ONNX Runtime doing the engines' work. The part
that calls TensorRT and CUDA is compiled where TENSORRT_ROOT and CUDA_ROOT name their headers and libraries.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from trbert_deploy.bundle import open_bundle
from trbert_deploy.runtimes.pipeline import graphs_of
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets
from trbert_deploy.runtimes.tensorrt.building import build_engines
from trbert_deploy.runtimes.tensorrt.device import Gpu
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineCache, EngineError, read_header
from trbert_deploy.runtimes.tensorrt.engine_choice import select_engines
from trbert_deploy.runtimes.tensorrt.flavor import find_flavor
from trbert_deploy.runtimes.tensorrt.gpu import Here, find_gpu, invalid_because
from trbert_deploy.runtimes.tensorrt.options import BuildSettings

CPP = Path(__file__).parents[2] / "runtimes" / "cpp"
ADA = ("8.9", "13.0")


@pytest.fixture(scope="module")
def built(golden_bundle, tmp_path_factory):
    """Builds engines of a golden bundle, once a bundle: the bundle and their folder."""
    made = {}

    def build(name, keep=None, **options):
        if (name, keep) not in made:
            bundle = open_bundle(golden_bundle(name, keep))
            most = bundle.manifest.task.max_length
            buckets = ((16, most // 2, most),) * len(bundle.manifest.reduction.layers)
            shapes = ShapeBuckets(lengths=(24, most), kept=buckets, rows=4, entries=8)
            folder = tmp_path_factory.mktemp("engines")
            build_engines(bundle, shapes, flavor="rtx", folder=folder, **options)
            made[name, keep] = (bundle, folder)
        return made[name, keep]

    return build


@pytest.fixture
def on_host(cpp):
    """What the C++ library says of a folder of engines; see runtimes/cpp/tests/tensorrt_on_host.cpp."""

    def ask(bundle, folder, mode="staged", flavor="rtx", version=None, capability=ADA[0], driver=ADA[1]):
        words = [bundle.folder, folder, mode, flavor, version or find_flavor("rtx").version, capability, driver]
        program = cpp.static / "tests" / "trbert-tensorrt-on-host"
        return json.loads(subprocess.run([program, *map(str, words)], capture_output=True, check=True).stdout)

    return ask


@pytest.mark.parametrize(
    ("name", "keep"),
    [
        ("distilbert3-sequence-classification", None),
        ("bert-question-answering", None),
        ("bert-multiple-choice", "0.4,0.15"),
        ("bert-hotpot-question-answering", None),
    ],
)
def test_a_runtime_of_real_engines_shapes_answers_the_golden_vectors(built, on_host, name, keep):
    bundle, folder = built(name, keep)
    report = on_host(bundle, folder)
    assert report.get("error") is None
    assert report["complaints"] == []
    wanted = select_engines(
        EngineCache(folder),
        bundle,
        [graph.file for graph in bundle.manifest.stages],
        Here({"rtx": find_flavor("rtx").version}, Gpu("an Ada", *ADA)),
    )
    assert report["chosen"] == [path.name for path in wanted]


def python_chooses(bundle, folder, files, here):
    """The names of the engines, or why there are none."""
    try:
        return [path.name for path in select_engines(EngineCache(folder), bundle, files, here)], ""
    except EngineError as error:
        return [], error.message


def test_engines_are_valid_where_python_says_so(built, on_host):
    bundle, folder = built("distilbert3-sequence-classification")
    versions = {find_flavor("rtx").version, "1.0.0.1"}
    runs = 0
    for version, capability in itertools.product(versions, ["7.5", "8.0", "8.9", "10.0", "12.0"]):
        here = Here({"rtx": version}, Gpu("a GPU", capability, "13.0"))
        for mode in ("staged", "dense"):
            report = on_host(bundle, folder, mode, version=version, capability=capability)
            for file, reason in report["invalid"].items():
                assert (reason == "") == (invalid_because(read_header(folder / file), bundle, here) is None)
            files = [graph.file for graph in graphs_of(bundle, mode)]
            chosen, why = python_chooses(bundle, folder, files, here)
            assert report["chosen"] == chosen
            assert report.get("error", "").startswith(why.partition(" (")[0])
            runs += bool(chosen)
    assert runs == 2 * 4
    other = on_host(bundle, folder, flavor="tensorrt")
    assert set(other["invalid"].values()) == {
        f"needs rtx {find_flavor('rtx').version}, this library was built with tensorrt"
    }


def test_an_engine_for_one_gpu_runs_there_alone(golden_bundle, on_host, tmp_path):
    bundle = open_bundle(golden_bundle("distilbert3-sequence-classification"))
    shapes = ShapeBuckets(lengths=(96,), kept=((96,),), rows=1, entries=1)
    build_engines(bundle, shapes, flavor="rtx", folder=tmp_path, settings=BuildSettings(compute_capability="8.9"))
    assert on_host(bundle, tmp_path)["complaints"] == []
    assert "built for compute capability 8.9, this GPU has 8.6" in on_host(bundle, tmp_path, capability="8.6")["error"]


def test_of_several_builds_the_last_is_taken_whole(built, on_host, tmp_path):
    bundle, folder = built("distilbert3-sequence-classification")
    folder = Path(shutil.copytree(folder, tmp_path / "engines"))
    first = on_host(bundle, folder)["chosen"]
    build_engines(bundle, ShapeBuckets(lengths=(96,), kept=((96,),), rows=2, entries=1), flavor="rtx", folder=folder)
    second = on_host(bundle, folder)["chosen"]
    assert not set(first) & set(second)
    (folder / second[1]).unlink()
    assert on_host(bundle, folder)["chosen"] == first
    assert on_host(bundle, folder)["complaints"] == []


def test_engines_of_another_bundle_and_broken_files_are_refused(built, on_host, golden_bundle, tmp_path):
    bundle, folder = built("distilbert3-sequence-classification")
    other = open_bundle(golden_bundle("bert-question-answering"))
    assert "built from another stage_0.onnx than the bundle's" in on_host(other, folder)["error"]
    assert "holds none" in on_host(bundle, tmp_path / "nothing")["error"]
    folder = Path(shutil.copytree(folder, tmp_path / "engines"))
    name = on_host(bundle, folder)["chosen"][0]
    whole = (folder / name).read_bytes()
    magic, header, serialized = whole.split(b"\n", 2)
    for broken, message in (
        (b"", "no TensorRT engine of this release"),
        (b"X" + whole, "no TensorRT engine of this release"),
        (magic + b"\n{}\n" + serialized, "its header"),
        (magic + b"\n" + header[:100], "its header"),
        (magic + b"\n" + header.replace(b'"rows":4', b'"rows":-4') + b"\n" + serialized, "not positive"),
        (whole[:-1], "bytes of engine"),
        (whole[:-1] + b"\0", "sha256 of its engine"),
    ):
        (folder / name).write_bytes(broken)
        assert message in on_host(bundle, folder)["error"]


def test_the_fused_graph_is_refused_where_its_shapes_depend_on_the_data(built, on_host):
    bundle, folder = built("distilbert3-sequence-classification")
    assert "depends on the data" in on_host(bundle, folder, "fused")["error"]
    bundle, folder = built("distilbert-question-answering", "0.4,0.15", fused=True)
    assert on_host(bundle, folder, "fused")["complaints"] == []


def test_a_library_without_tensorrt_says_how_to_build_it(cpp, text_bundle):
    command = [cpp.run, text_bundle("sequence-classification"), "--runtime", "trt", "a text"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "-DTRBERT_WITH_TENSORRT" in result.stderr


def test_missing_tensorrt_headers_are_an_error(cpp, tmp_path):
    command = ["cmake", "-S", CPP, "-B", tmp_path, f"-DONNXRUNTIME_ROOT={cpp.onnxruntime}"]
    options = [f"-DTENSORRT_ROOT={tmp_path}", f"-DCUDA_ROOT={tmp_path}", "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF"]
    for value, message in (("rtx", "give -DTENSORRT_ROOT=FOLDER"), ("yes", "is OFF, tensorrt or rtx")):
        result = subprocess.run(
            [*command, *options, f"-DTRBERT_WITH_TENSORRT={value}"], capture_output=True, text=True, check=False
        )
        assert result.returncode != 0
        assert message in " ".join(result.stderr.split())


@pytest.mark.skipif("TENSORRT_ROOT" not in os.environ, reason="needs TensorRT-RTX's headers: TENSORRT_ROOT, CUDA_ROOT")
@pytest.mark.skipif(find_gpu() is not None, reason="is about machines without a GPU")
def test_with_tensorrt_it_compiles_and_names_what_is_missing(cpp, text_bundle, tmp_path):
    bundle = text_bundle("sequence-classification")
    options = ["-DTRBERT_WITH_TENSORRT=rtx", "-DTRBERT_WERROR=ON", f"-DONNXRUNTIME_ROOT={cpp.onnxruntime}"]
    tests = ["-DTRBERT_BUILD_TESTS=ON", f"-DTRBERT_TEST_BUNDLE={bundle}", "-DCMAKE_CXX_FLAGS_RELEASE=-O0"]
    for command in (
        ["cmake", "-S", CPP, "-B", tmp_path, *options, *tests],
        ["cmake", "--build", tmp_path],
        ["ctest", "--test-dir", tmp_path, "--output-on-failure"],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    command = [tmp_path / "trbert-run", bundle, "--runtime", "trt", "a text"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "NVIDIA driver" in result.stderr
