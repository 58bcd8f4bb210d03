"""The package: tests that ctest runs, installation, a consumer's project, what is missing is an error."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from trbert_deploy._version import __version__

CPP = Path(__file__).parents[2] / "runtimes" / "cpp"
CONSUMER = CPP / "tests" / "consumer"


def call(*command, **options):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def pkg_config(folder):
    environment = os.environ | {"PKG_CONFIG_PATH": str(folder)}
    return shlex.split(call("pkg-config", "--cflags", "--libs", "trbert", env=environment))


@pytest.mark.slow  # with sanitizers they run every time
def test_ctest(cpp):
    call("cmake", "--build", cpp.static)
    printed = call("ctest", "--test-dir", cpp.static, "--output-on-failure", "--no-tests=error")
    assert "100% tests passed" in printed


@pytest.mark.parametrize("kind", ["static", "shared"])
def test_a_consumers_project(cpp, kind, tmp_path, text_bundle):
    """find_package, and pkg-config, after installing; a C++ and a C program that answer a text."""
    installed = tmp_path / "installed"
    call("cmake", "--install", getattr(cpp, kind), "--prefix", installed)
    moved = installed.rename(tmp_path / "moved")  # the package can be moved
    call("cmake", "-S", CONSUMER, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={moved}")
    call("cmake", "--build", tmp_path / "build")
    bundle = text_bundle("sequence-classification")
    for program in ("consumer", "consumer_c"):
        printed = call(tmp_path / "build" / program, bundle)
        assert json.loads(printed)["label"]
    assert call(moved / "bin" / "trbert-run", "--version") == f"trbert-run {__version__}\n"
    flags = pkg_config(next(moved.rglob("pkgconfig")))
    call("g++", "-std=c++17", CONSUMER / "main.cpp", "-o", tmp_path / "by_pkg_config", *flags)
    assert json.loads(call(tmp_path / "by_pkg_config", bundle))["label"]


def configured(folder, *options):
    """What a configuration found, by variable."""
    call("cmake", "-S", CPP, "-B", folder, *options)
    lines = (folder / "CMakeCache.txt").read_text(encoding="utf-8").splitlines()
    found = {line.partition(":")[0]: Path(line.partition("=")[2]) for line in lines}
    return {name: found[name] for name in found if re.fullmatch(r"(OnnxRuntime|TensorRT)_\w+", name)}


def root_of(folder):
    """Empty files under the names that a configuration looks for."""
    for name in (
        "include/onnxruntime_cxx_api.h",
        "include/NvInfer.h",
        "include/NvInferVersion.h",
        "include/cuda_runtime_api.h",
        "lib/libonnxruntime.so",
        "lib/libnvinfer.so",
        "lib/libcudart.so",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_root_is_searched_alone_and_another_anew(tmp_path):
    """Not where CMAKE_PREFIX_PATH has another of the kind, and whatever an earlier configuration found."""
    build = tmp_path / "build"
    other, one, two = (root_of(tmp_path / name) for name in ("other", "one", "two"))
    roots = ("ONNXRUNTIME_ROOT", "TENSORRT_ROOT", "CUDA_ROOT")
    first = ["-DTRBERT_WITH_TENSORRT=tensorrt", f"-DCMAKE_PREFIX_PATH={other}"]
    for place, given in (
        (other, first),
        (one, [f"-D{root}={one}" for root in roots]),
        (two, [f"-D{root}={two}" for root in roots]),
        (two, []),
        (two, [f"-D{root}=" for root in roots]),
    ):
        assert configured(build, *given) == {
            "OnnxRuntime_INCLUDE_DIR": place / "include",
            "OnnxRuntime_LIBRARY": place / "lib" / "libonnxruntime.so",
            "TensorRT_INCLUDE_DIR": place / "include",
            "TensorRT_LIBRARY": place / "lib" / "libnvinfer.so",
            "TensorRT_CUDA_INCLUDE_DIR": place / "include",
            "TensorRT_CUDA_LIBRARY": place / "lib" / "libcudart.so",
        }


@pytest.mark.parametrize("shared", ["ON", "OFF"])
def test_what_is_installed_finds_a_root_below_the_build(tmp_path, shared):
    root = root_of(tmp_path / "ort")
    configured(tmp_path, f"-DONNXRUNTIME_ROOT={root}", f"-DBUILD_SHARED_LIBS={shared}")
    steps = (tmp_path / "cmake_install.cmake").read_text(encoding="utf-8")
    paths = set(re.findall(r'NEW_RPATH "([^"]*)"', steps))
    assert len(paths) == (2 if shared == "ON" else 1)  # of libtrbert.so and of trbert-run
    for path in paths:
        assert str(root / "lib") in path.split(":")


def test_pkg_config_knows_roots_with_spaces(tmp_path):
    root, cuda = root_of(tmp_path / "a root"), root_of(tmp_path / "and another")
    options = ["-DTRBERT_WITH_TENSORRT=tensorrt", f"-DTENSORRT_ROOT={root}", f"-DCUDA_ROOT={cuda}"]
    configured(tmp_path / "build", f"-DONNXRUNTIME_ROOT={root}", *options)
    flags = pkg_config(tmp_path / "build")
    assert {f"-L{root / 'lib'}", f"-L{cuda / 'lib'}", f"-Wl,-rpath,{root / 'lib'}:{cuda / 'lib'}"} < set(flags)


def test_another_version_is_not_found(cpp, tmp_path):
    call("cmake", "--install", cpp.shared, "--prefix", tmp_path / "installed")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(other CXX)\nfind_package(trbert 99 REQUIRED)\n"
    )
    command = ["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={tmp_path / 'installed'}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "trbert" in result.stderr
    assert "99" in result.stderr


def test_missing_headers_are_an_error(cpp, tmp_path):
    """Even where the library is there: nothing is skipped silently."""
    (tmp_path / "root" / "include").mkdir(parents=True)
    (tmp_path / "root" / "lib").symlink_to(cpp.onnxruntime / "lib")
    command = ["cmake", "-S", CPP, "-B", tmp_path / "build", f"-DONNXRUNTIME_ROOT={tmp_path / 'root'}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "scripts/onnxruntime_root.sh" in " ".join(result.stderr.split())


@pytest.mark.parametrize("words", [["--check"], []], ids=["check", "no-apt-get"])
def test_missing_packages_are_named_with_the_command_that_installs_them(tmp_path, words):
    for program in ("bash", "g++", "id", "paste", "cmake", "make", "nm"):
        (tmp_path / program).symlink_to(shutil.which(program))
    script = CPP / "scripts" / "debian_packages.sh"
    result = subprocess.run(
        ["bash", script, *words], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "there is no: pkg-config" in result.stderr
    assert "hint: bash runtimes/cpp/scripts/debian_packages.sh" in result.stderr


def run_script(*words):
    return subprocess.run(
        [CPP / "scripts" / "onnxruntime_root.sh", *words], capture_output=True, text=True, check=False
    )


def test_a_release_folder_becomes_a_root(cpp, tmp_path):
    assert run_script(tmp_path / "root", "release", cpp.onnxruntime).returncode == 0
    assert (tmp_path / "root" / "include" / "onnxruntime_cxx_api.h").is_file()
    assert (tmp_path / "root" / "lib" / "libonnxruntime.so.1").is_file()
    assert run_script(tmp_path / "root", "release", cpp.onnxruntime).returncode == 0  # its own work is replaced


def test_a_release_without_headers_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "release" / "include").mkdir(parents=True)
    result = run_script(tmp_path / "root", "release", tmp_path / "release")
    assert result.returncode == 1
    assert "no onnxruntime_c_api.h" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release"]


def test_what_the_script_did_not_make_is_not_replaced(cpp, tmp_path):
    (tmp_path / "mine").mkdir()
    result = run_script(tmp_path / "mine", "release", cpp.onnxruntime)
    assert result.returncode == 1
    assert "give another folder" in result.stderr


def test_the_header_is_short_and_shows_no_other_library():
    for header in (CPP / "include" / "trbert").iterdir():
        text = header.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 150
        includes = re.findall(r"#include [<\"]([^>\"]+)", text.partition("namespace")[0])
        assert all(name.startswith("trbert/") or "/" not in name for name in includes)
        assert "Ort" not in text.replace("ORT", "")
        assert "nlohmann" not in text
    opening = (CPP / "include" / "trbert" / "trbert.hpp").read_text(encoding="utf-8").partition("#pragma")[0]
    assert "trbert::Engine engine" in opening
    assert "several threads" in opening


def test_the_shared_library_shows_its_interface_alone(cpp):
    printed = call("nm", "-D", "--defined-only", "-C", cpp.shared / "libtrbert.so")
    names = [line.split(maxsplit=2)[2] for line in printed.splitlines()]
    ours = [name for name in names if "trbert" in name]
    assert any("trbert::Engine::run" in name for name in ours)
    assert not [name for name in ours if "internal" in name]
    assert not [name for name in names if "nlohmann" in name]


def test_the_version_is_the_packages():
    declared = re.search(r"project\(trbert VERSION (\S+)", (CPP / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert declared is not None
    assert declared[1] == __version__
