from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trbert_deploy._version import __version__

COMMAND = str(Path(sys.executable).with_name("trbert-deploy"))


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, **options)


def processor_seconds(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_names_every_verb():
    ran = run("--help")
    for verb in ("export", "build", "bench", "predict", "inspect", "verify", "env"):
        assert f" {verb} " in ran.stdout


def test_help_takes_little_more_than_typer_itself():
    # Against what typer and its formatting cost on the same machine in the same minute: machines differ, and are busy.
    times = [
        (processor_seconds(COMMAND, "--help"), processor_seconds(sys.executable, "-c", "import typer.rich_utils"))
        for _ in range(5)
    ]
    ours, typers = (min(column) for column in zip(*times, strict=True))
    assert ours < 3 * typers


@pytest.mark.parametrize("arguments", [("--help",), ("export", "--help"), ("bench", "--help"), ("train", "--help")])
def test_nothing_heavy_is_imported_to_say_what_there_is(arguments):
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "trbert_deploy", *arguments], capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ran.stderr.splitlines()}
    assert "typer" in imported
    heavy = {"numpy", "tokenizers", "torch", "transformers", "onnx", "onnxruntime", "tensorrt"}
    heavy |= {"tensorrt_rtx", "accelerate", "datasets", "matplotlib", "cuda"}
    assert imported & heavy == set()


def test_version():
    assert run("--version").stdout.strip() == f"trbert-deploy {__version__}"


def test_no_arguments_show_the_help():
    ran = run()
    assert ran.returncode == 2
    assert "Usage: trbert-deploy" in ran.stdout + ran.stderr


def test_an_error_is_a_message_with_a_hint_and_no_traceback(tmp_path):
    ran = run("inspect", str(tmp_path))
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.startswith("error: ")
    assert "\nhint: make one: trbert-deploy export MODEL --out DIR" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_debug_shows_the_traceback(tmp_path):
    ran = run("--debug", "inspect", str(tmp_path))
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr


@pytest.mark.parametrize("name", ["x[/bold]", "x\\[/bold]", "x[red]", "[link=a]"])
def test_brackets_in_a_path_are_shown(tmp_path, name):
    ran = run("inspect", str(tmp_path / name))
    assert ran.returncode == 1
    assert f"{tmp_path / name} is not a bundle: it does not exist" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_inspect_shows_brackets_and_whole_names(golden_bundle, tmp_path):
    bundle = tmp_path / "out[v1]"
    shutil.copytree(golden_bundle("bert-sequence-classification"), bundle)
    shown = run("inspect", str(bundle)).stdout
    assert "out[v1]" in shown
    for name in ("token_type_ids", "attention_mask", "next_hidden_states"):
        assert name in shown


def test_output_is_utf8_whatever_the_locale(golden_bundle, tmp_path):
    bundle = golden_bundle("bert-sequence-classification")
    items = tmp_path / "items.jsonl"
    items.write_text(json.dumps({"id": "Ω", "input_ids": [5, 6, 7]}, ensure_ascii=False), encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    ran = subprocess.run([COMMAND, "predict", bundle, "--data", items], capture_output=True, env=environment)
    assert ran.returncode == 0, ran.stderr.decode()
    assert json.loads(ran.stdout.decode("utf-8"))["id"] == "Ω"


def test_an_unknown_verb_is_a_usage_error():
    assert run("deploy").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("export", "somewhere", "--out", "x"), "trbert-deploy[export]"),
        (("verify", "{bundle}"), "trbert-deploy[cpu]"),
        (("verify", "{bundle}", "--runtime", "torch"), "trbert-deploy[torch]"),
    ],
)
def test_a_missing_extra_is_named_with_its_command(golden_bundle, tmp_path, arguments, extra):
    bundle = golden_bundle("distilbert3-sequence-classification")
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'onnx', 'onnxruntime', 'transformers'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    assert run("--help", env=environment).returncode == 0
    assert run("env", env=environment).returncode == 0
    ran = run(*(part.format(bundle=bundle) for part in arguments), env=environment)
    assert ran.returncode == 1
    assert "not installed" in ran.stderr
    assert f"pip install '{extra}'" in ran.stderr


@pytest.mark.parametrize(
    ("package", "extra"), [("tensorrt_rtx_bindings", "trt-rtx"), ("cuda", "trt-rtx"), ("accelerate", "train")]
)
def test_a_package_that_fails_late_is_named_too_those_of_runtimes_among_them(package, extra):
    code = (
        "import sys, trbert_deploy.cli.app as app\n"
        "def fail():\n"
        f"    raise ModuleNotFoundError('No module named x', name='{package}.deep')\n"
        "app.make_app = lambda: fail\n"
        "from trbert_deploy.cli.main import main\n"
        "main()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert f"this command needs the package '{package}'" in ran.stderr
    assert f"pip install 'trbert-deploy[{extra}]'" in ran.stderr
    assert "Traceback" not in ran.stderr
