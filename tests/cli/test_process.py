"""How the console script ends where nobody reads, nothing can be written, or somebody presses Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("trbert-deploy"))
SAYING = [
    ("--help",),
    pytest.param(("env", "--json"), marks=pytest.mark.slow),
    ("inspect", "{bundle}"),
    ("predict", "{bundle}"),
]

#: Tells when the command has taken over SIGINT; before that Python itself is starting.
TELLING = """
import os, signal

own = signal.signal

def told(number, handler):
    before = own(number, handler)
    if number == signal.SIGINT:
        os.write(int(os.environ["TOLD"]), b".")
    return before

signal.signal = told
"""


@pytest.fixture(scope="module")
def bundle(golden_bundle):
    return golden_bundle("distilbert3-sequence-classification")


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"id": number, "input_ids": [5, 6, 7]}) + "\n" for number in range(2000)))
    return path


def typed(arguments, bundle):
    return [COMMAND, *(part.format(bundle=bundle) for part in arguments)]


@pytest.mark.parametrize("gone", ["reader", "room", "stdout", "stderr"])
@pytest.mark.parametrize("arguments", SAYING, ids=" ".join)
def test_an_output_that_is_not_there(arguments, gone, bundle, rows):
    """A pipe that nobody reads, a full disk, and streams that are closed from the start."""
    command, code, said = typed(arguments, bundle), 0, b""
    if gone == "reader":
        reading, writing = os.pipe()
        os.close(reading)
        with rows.open() as stdin:
            ran = subprocess.run(command, stdin=stdin, stdout=writing, stderr=subprocess.PIPE, check=False)
        os.close(writing)
        code = 141
    elif gone == "room":
        with rows.open() as stdin, Path("/dev/full").open("w") as full:
            ran = subprocess.run(command, stdin=stdin, stdout=full, stderr=subprocess.PIPE, check=False)
        code = 1
        said = b"error: the standard output cannot be written: No space left on device\nhint: write it elsewhere, or"
    else:
        closing = f'exec "$@" {">&-" if gone == "stdout" else "2>&-"}'
        with rows.open() as stdin:
            ran = subprocess.run(["sh", "-c", closing, "sh", *command], stdin=stdin, capture_output=True, check=False)
    assert ran.returncode == code
    assert ran.stderr.startswith(said) if said else not ran.stderr


def test_whoever_reads_a_little_gets_it(bundle, rows):
    with rows.open() as stdin:
        ran = subprocess.run(
            ["sh", "-c", f"{COMMAND} predict {bundle} | head -n 1"], stdin=stdin, capture_output=True, check=False
        )
    assert json.loads(ran.stdout)["id"] == 0
    assert ran.stderr == b""


@pytest.fixture
def interrupted(tmp_path):
    """Starts a command, presses Ctrl-C some seconds after it has begun: exit code, or None if it was done; stderr."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(TELLING)

    def run(command, seconds):
        reading, writing = os.pipe()
        path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[writing],
            env=os.environ | {"PYTHONPATH": path, "TOLD": str(writing)},
        )
        os.close(writing)
        assert os.read(reading, 1)
        os.close(reading)
        time.sleep(seconds)
        done = process.poll() is not None
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        return None if done else process.returncode, stderr

    return run


INTERRUPTED = [
    ("train", "{bundle}/reference", "--data", "{rows}", "--out", "{out}"),
    ("export", "{bundle}", "--out", "{out}"),
    ("build", "{bundle}", "--flavor", "rtx", "--engines", "{out}"),
    ("bench", "{bundle}"),
    ("predict", "{bundle}", "--data", "{rows}", "--out", "{out}"),
    ("verify", "{bundle}", "--runtime", "torch"),
]
SECONDS = [0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.2]
#: A few of them in every run: each verb once, at different moments.
QUICK = list(zip(("train", "export", "build", "bench", "predict", "verify"), (0.9, 0.3, 0.1, 0.7, 0.2, 0), strict=True))


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        pytest.param(
            one, seconds, id=f"{one[0]}-{seconds}", marks=[] if (one[0], seconds) in QUICK else pytest.mark.slow
        )
        for one in INTERRUPTED
        for seconds in SECONDS
    ],
)
def test_ctrl_c_ends_a_verb_without_a_word(interrupted, bundle, rows, tmp_path, arguments, seconds):
    out = tmp_path / "folder" / "out"
    out.parent.mkdir()
    command = [COMMAND, *(part.format(bundle=bundle, rows=rows, out=out) for part in arguments)]
    code, stderr = interrupted(command, seconds)
    assert code in (None, 130)
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr  # TensorRT says of loggers that they are ignored
    if code == 130:
        # A run folder, or one of engines; and an empty lock, if it was the moment between making and taking it.
        assert {path.name for path in out.parent.iterdir()} <= {"out", ".out.turn"}


def test_a_signal_that_a_callback_swallows_comes_again(tmp_path):
    """Python raises nothing out of a finalizer or a weak reference's callback; the interruption must not be lost."""
    script = """
import signal, sys, time
from trbert_deploy.cli import main

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        for _ in range(1000):
            pass

def run(*, debug):
    Finalized()
    time.sleep(30)

main._run = run
main.main()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=20, check=False)
    assert (ran.returncode, ran.stderr) == (130, b"")


def test_a_signal_waits_for_an_import(tmp_path):
    """An exception in the middle of an extension module's initialization may abort the process."""
    imported = tmp_path / "imported"
    lines = [
        "import signal, time",
        "signal.raise_signal(signal.SIGINT)",
        "time.sleep(0.2)",
        f"open({str(imported)!r}, 'x')",
    ]
    (tmp_path / "slow_module.py").write_text("\n".join(lines), encoding="utf-8")
    script = f"""
import sys, time
from trbert_deploy.cli import main

def run(*, debug):
    sys.path.insert(0, {str(tmp_path)!r})
    import slow_module
    time.sleep(30)

main._run = run
main.main()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=20, check=False)
    assert (ran.returncode, ran.stderr) == (130, b"")
    assert imported.exists()
