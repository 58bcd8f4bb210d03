from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from trbert_deploy.core.errors import MissingExtraError, TRBertError
from trbert_deploy.core.extras import PACKAGES, missing_extra, require
from trbert_deploy.runtimes.registry import optional_packages

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))


EVERY = {**PACKAGES, **optional_packages()}


class Absent:
    """Makes a package look as if it were not installed."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def absent(monkeypatch):
    def remove(package):
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Absent(package), *sys.meta_path])

    return remove


@pytest.mark.parametrize("package", sorted(EVERY))
def test_each_absent_package_names_an_extra_that_brings_it(absent, package):
    absent(package)
    with pytest.raises(MissingExtraError) as caught:
        require(package, "this test", packages=optional_packages())
    message = str(caught.value)
    assert f"this test needs the package {package!r}, which is not installed" in message
    (extra,) = re.findall(r"pip install 'trbert-deploy\[([a-z-]+)\]'", caught.value.hint)
    listed = PYPROJECT["project"]["optional-dependencies"]
    wanted = listed[extra]
    for inner in re.findall(r"trbert-deploy\[([a-z]+)\]", " ".join(wanted)):
        wanted = wanted + listed[inner]
    wanted = [*wanted, "huggingface_hub"] if any(line.startswith("transformers") for line in wanted) else wanted
    names = {re.split(r"[<>=\[]", line)[0].replace("-", "_") for line in wanted}
    distributions = {package, package.replace("_bindings", "_cu13_bindings"), f"{package}_bindings", f"{package}_cu13"}
    assert names & (distributions if package != "sklearn" else {"scikit_learn"})


def test_every_package_that_is_imported_is_a_dependency_or_has_an_extra():
    always = {re.split(r"[<>=\[]", line)[0] for line in PYPROJECT["project"]["dependencies"]} | {"trbert_deploy"}
    always |= {"_typeshed"}  # type checkers bring it along
    root = Path(__file__).parents[2]
    imported = set()
    for top in ("trbert_deploy", "export", "runtimes", "calib_data"):
        for file in (root / top).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    imported.add((node.module or "").partition(".")[0])
    assert {"torch", "accelerate", "numpy"} <= imported
    assert imported - always - set(sys.stdlib_module_names) <= EVERY.keys()


def test_the_gpu_wheel_is_mentioned_for_onnxruntime(absent):
    absent("onnxruntime")
    with pytest.raises(MissingExtraError) as caught:
        require("onnxruntime", "x")
    assert "[gpu]" in caught.value.hint


def test_an_error_deep_inside_one_of_our_modules_is_recognised():
    error = ModuleNotFoundError("No module named 'torch'", name="torch.nn")
    missing = missing_extra(error, "runtime 'torch'")
    assert isinstance(missing, MissingExtraError)
    assert isinstance(missing, ImportError)
    assert isinstance(missing, TRBertError)
    assert "trbert-deploy[torch]" in missing.hint


def test_other_import_errors_are_not_dressed_up():
    assert missing_extra(ModuleNotFoundError("No module named 'numpi'", name="numpi"), "x") is None
    assert missing_extra(ImportError("cannot import name 'a' from 'b'"), "x") is None
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all") as caught:
        require("no_such_module_at_all", "x")
    assert not isinstance(caught.value, MissingExtraError)


def test_what_is_installed_is_returned():
    assert require("trbert_deploy.core.selection", "x") is sys.modules["trbert_deploy.core.selection"]
