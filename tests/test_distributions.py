"""What the two distributions hold, and that the first finds the models of the second where both are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPED = ("calib_data", "export", "runtimes")
WEIGHTS = (".safetensors", ".bin", ".onnx", ".pt")
LEFT_OVER = (
    "runtimes/cpp/build/libtrbert.so",
    "runtimes/__pycache__/base.cpython-311.pyc",
    "models/trbert_deploy_models/__pycache__/__init__.cpython-311.pyc",
)
FIND = """
import sys
if "--without" in sys.argv:  # even where this Python has them
    sys.modules["trbert_deploy_models"] = None
from trbert_deploy.core.errors import CheckpointError
from trbert_deploy.shipped_models import DEFAULT_MODEL, shipped_folder
try:
    print(shipped_folder(DEFAULT_MODEL))
except CheckpointError as error:
    print(error)
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*arguments):
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments)


@pytest.fixture(scope="module")
def tracked():
    """The files that git tracks: links, and files that are there."""
    return [name for name in run("git", "ls-files", cwd=ROOT).splitlines() if (ROOT / name).exists()]


@pytest.fixture(scope="module")
def source(tracked, tmp_path_factory):
    """The tracked files, with what a C++ build in the documented place and an import leave there."""
    folder = tmp_path_factory.mktemp("source")
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    for name in LEFT_OVER:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"left over")
    return folder


@pytest.fixture(scope="module")
def build_wheel(source, tmp_path_factory):
    """Builds the project in a folder of the source, without a network."""

    def build(folder):
        out = tmp_path_factory.mktemp("wheel")
        pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source / folder)
        (wheel,) = out.iterdir()
        return wheel

    return build


@pytest.fixture(scope="module")
def main_wheel(build_wheel):
    return build_wheel(".")


@pytest.fixture(scope="module")
def models_wheel(build_wheel):
    return build_wheel("models")


def held(wheel):
    """The names of what a wheel installs, without what describes it."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_main_wheel_holds_the_packages_and_nothing_else(main_wheel, tracked):
    wanted = {file for top in ("trbert_deploy", *MAPPED) for file in tracked if file.startswith(f"{top}/")}
    wanted = {file for file in wanted if not file.startswith("runtimes/cpp/") and (ROOT / file).is_file()}
    assert held(main_wheel) == {f"trbert_deploy/{file.removeprefix('trbert_deploy/')}" for file in wanted}


def test_the_main_wheel_is_small_and_holds_no_weights(main_wheel):
    assert main_wheel.stat().st_size < 1_000_000
    assert [name for name in held(main_wheel) if name.endswith(WEIGHTS)] == []


def test_the_source_archive_holds_no_weights_and_all_that_is_built_from(source, main_wheel, tmp_path):
    build = "import sys, setuptools.build_meta; setuptools.build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, tmp_path, cwd=source)
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as files:
        names = {member.name.partition("/")[2] for member in files}
    assert [name for name in names if name.endswith(WEIGHTS) or name.startswith("models")] == []
    built = {name.removeprefix("trbert_deploy/") for name in held(main_wheel)}
    assert built == {name for name in built if {name, f"trbert_deploy/{name}"} & names}
    assert archive.stat().st_size < 1_000_000


def test_the_models_wheel_holds_the_models_and_nothing_else(models_wheel, tracked):
    wanted = {name.removeprefix("models/") for name in tracked if name.startswith("models/trbert_deploy_models/")}
    assert "trbert_deploy_models/trbert-minilm-imdb/model.safetensors" in wanted
    assert held(models_wheel) == wanted
    with zipfile.ZipFile(models_wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        assert "License-Expression: Apache-2.0" in archive.read(metadata).decode()
        (licence,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()


def test_installed_models_are_found_and_missing_ones_are_named(main_wheel, models_wheel, tmp_path):
    """In folders apart from the clone, where Python finds nothing of it."""

    def found(*arguments):
        paths = os.pathsep.join([str(tmp_path / "main"), str(tmp_path / "models")])
        return run(sys.executable, "-c", FIND, *arguments, cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}).strip()

    pip("install", "--no-index", "--no-deps", "--target", tmp_path / "main", main_wheel)
    assert "pip install 'trbert-deploy[models]'" in found("--without")
    pip("install", "--no-index", "--no-deps", "--target", tmp_path / "models", models_wheel)
    folder = Path(found())
    assert folder == tmp_path / "models" / "trbert_deploy_models" / "trbert-minilm-imdb"
    for file in folder.iterdir():
        assert file.read_bytes() == (ROOT / "models" / "trbert_deploy_models" / folder.name / file.name).read_bytes()
