"""What is on disk is what is packaged, and the light parts stay light."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAPPED = ("calib_data", "export", "runtimes")
HEAVY = (
    "torch",
    "transformers",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnxruntime_extensions",
    "safetensors",
)
HEAVY += ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "cuda", "huggingface_hub", "datasets", "accelerate")

BLOCKED = f"""
import sys
HEAVY = {HEAVY!r}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def modules():
    found = {}
    for top in ("trbert_deploy", *MAPPED):
        for file in sorted((ROOT / top).rglob("*.py")):  # does not follow the links of the same names
            if "cpp" not in file.relative_to(ROOT).parts:
                found[file.relative_to(ROOT)] = file
    return found


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )


def test_packages_are_those_on_disk():
    on_disk = set()
    for file in modules():
        top, *rest = file.parent.parts
        name = ".".join([top if top == "trbert_deploy" else f"trbert_deploy.{top}", *rest])
        on_disk.add(name)
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == on_disk


def test_every_package_has_an_init():
    for file in modules():
        assert (ROOT / file.parent / "__init__.py").is_file(), f"{file.parent} has no __init__.py"


def test_mapped_folders_and_their_links():
    mapping = PYPROJECT["tool"]["setuptools"]["package-dir"]
    assert mapping == {"trbert_deploy": "trbert_deploy"} | {f"trbert_deploy.{name}": name for name in MAPPED}
    for name in MAPPED:
        link = ROOT / "trbert_deploy" / name
        assert link.is_symlink()
        assert link.readlink() == Path("..") / name


def test_data_files_on_disk_are_packaged():
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]
    packaged = set()
    for package, globs in patterns.items():
        folder = ROOT / package.removeprefix("trbert_deploy.").replace(".", "/")
        folder = (
            folder if package == "trbert_deploy" or folder.parts[-1] in MAPPED else ROOT / package.replace(".", "/")
        )
        for pattern in globs:
            packaged |= set(folder.glob(pattern))
    on_disk = {
        file
        for top in ("trbert_deploy", *MAPPED)
        for file in (ROOT / top).rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc") and "cpp" not in file.relative_to(ROOT).parts
    }
    assert on_disk
    assert on_disk <= packaged


def test_every_module_says_what_it_is():
    for name, file in modules().items():
        if file.name.startswith("_") and file.name != "__init__.py":
            continue  # private
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), f"{name} has no docstring"


def test_imports_are_absolute_and_through_the_package():
    for name, file in modules().items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}:{node.lineno} imports relatively"
                assert (node.module or "").partition(".")[0] not in MAPPED, f"{name}:{node.lineno}"
            elif isinstance(node, ast.Import):
                assert all(alias.name.partition(".")[0] not in MAPPED for alias in node.names), f"{name}:{node.lineno}"


def test_a_runtime_names_no_other_and_what_they_share_names_none():
    folders = {file.parent.name: file.parent for file in (ROOT / "runtimes").glob("*/__init__.py")}
    assert folders.keys() >= {"onnxruntime", "tensorrt", "torch"}
    shared = [file for file in (ROOT / "runtimes").glob("*.py") if file.name != "registry.py"]  # which lists them
    for name, files in {"": shared, **{name: list(folder.rglob("*.py")) for name, folder in folders.items()}}.items():
        for file in files:
            named = set(re.findall(r"\btrbert_deploy\.runtimes\.(\w+)", file.read_text(encoding="utf-8")))
            assert not named & (folders.keys() - {name}), file


def test_versions_agree():
    import trbert_deploy

    assert trbert_deploy.__version__ == PYPROJECT["project"]["version"]


LIGHT = [
    "trbert_deploy",
    "trbert_deploy.cli.main",
    "trbert_deploy.bundle",
    "trbert_deploy.api",
    "trbert_deploy.core.request",
    "trbert_deploy.runtimes.environment",
    "trbert_deploy.runtimes.base",
    "trbert_deploy.runtimes.pipeline",
    "trbert_deploy.core.grouping",
    "trbert_deploy.runtimes.tensorrt.building",
    "trbert_deploy.runtimes.tensorrt.worker",
    "trbert_deploy.runtimes.tensorrt.listing",
    "trbert_deploy.shape_buckets",
    "trbert_deploy.shipped_models",
]


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module):
    """Installed as everything is here, none of it may be loaded."""
    code = f"""
import sys, json, {module}
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}} & set({HEAVY!r}))))
"""
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == []


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_where_the_extras_are_absent(module):
    result = run(f"{BLOCKED}\nimport {module}")
    assert result.returncode == 0, result.stderr


def test_onnx_runtime_needs_no_torch():
    code = """
import sys, trbert_deploy.runtimes.onnxruntime.sessions
assert "onnxruntime" in sys.modules
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "transformers", "onnx"}))
"""
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "package", "command"),
    [
        ("trbert_deploy.runtimes.onnxruntime.sessions", "onnxruntime", "pip install 'trbert-deploy[cpu]'"),
        ("trbert_deploy.runtimes.onnxruntime.tensorrt_providers", "onnxruntime", "pip install 'trbert-deploy[cpu]'"),
        ("trbert_deploy.runtimes.torch.reference", "torch", "pip install 'trbert-deploy[torch]'"),
        ("trbert_deploy.checkpoint", "", "pip install 'trbert-deploy[torch]'"),
        ("trbert_deploy.export.trace", "onnx", "pip install 'trbert-deploy[export]'"),
        ("trbert_deploy.export.fuse", "onnx", "pip install 'trbert-deploy[export]'"),
    ],
)
def test_a_missing_extra_is_an_error_that_names_the_command(module, package, command):
    code = f"""{BLOCKED}
from trbert_deploy.core.errors import MissingExtraError
from trbert_deploy.core.extras import require
try:
    require({module!r}, "what was asked for")
except MissingExtraError as error:
    print(error)
"""
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert "what was asked for needs the package" in result.stdout
    assert repr(package)[:-1] in result.stdout or not package
    assert command in result.stdout


CLI = BLOCKED + "from trbert_deploy.cli.main import main\nsys.argv[0] = 'trbert-deploy'\nmain()"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["env"], ["env", "--json"]])
def test_the_command_line_starts_without_the_extras(arguments):
    result = run(CLI, *arguments)
    assert result.returncode == 0, result.stderr
    if arguments == ["env", "--json"]:
        facts = json.loads(result.stdout)["environment"]
        assert facts["onnxruntime_providers"] == "not installed"
        assert "not installed" in facts["cuda_device"]


def test_a_verb_without_its_extra_exits_1_and_names_the_command(golden, tmp_path):
    folder = golden("bert-sequence-classification").folder
    result = run(CLI, "export", str(folder), "--out", str(tmp_path / "bundle"))
    assert result.returncode == 1
    assert "error:" in result.stderr
    assert "pip install 'trbert-deploy[" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "bundle").exists()
