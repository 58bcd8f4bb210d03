"""`trbert-deploy predict` answers files, arguments and standard input as the library does."""

import contextlib
import json
import os
import subprocess
import sys
import threading

import pytest
from predicted import REVIEWS, close


@pytest.mark.parametrize("options", [(), ("--mode", "fused"), ("--runtime", "torch"), ("--batch-size", "4")])
def test_a_file_of_reviews(run, reviews_file, answers, options):
    code, found, stderr = run("--data", reviews_file, *options)
    assert code == 0
    assert close(found, answers)
    assert [answer["id"] for answer in found] == [review["id"] for review in REVIEWS]
    assert len({tuple(answer["kept"]) for answer in found}) > 1, "selection must not be trivial here"
    assert stderr == "", "no progress bar where stderr is no terminal"


def test_texts_as_arguments(run, answers):
    code, found, _ = run(REVIEWS[0]["text"], REVIEWS[1]["text"])
    assert code == 0
    assert close([{"id": answer["id"], **own} for answer, own in zip(answers, found, strict=False)], answers[:2])
    assert all("id" not in own for own in found)


@pytest.mark.parametrize("arguments", [(), ("--data", "-")])
def test_standard_input(run, reviews_file, answers, arguments):
    code, found, _ = run(*arguments, stdin=reviews_file.read_bytes())
    assert code == 0
    assert close(found, answers)


def test_pairs(run):
    code, (pair, single), _ = run(stdin=b'{"text": "good", "text_pair": "bad film"}\n{"text": "good"}\n')
    assert code == 0
    assert pair["token_count"] > single["token_count"] + 1


def test_an_empty_file_has_no_answers(run, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    assert run("--data", tmp_path / "empty.jsonl")[:2] == (0, [])


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_the_progress_bar_stays_on_stderr(bundle, reviews_file):
    terminal, stderr = os.openpty()
    shown = bytearray()

    def read():  # beside the command, which would stop at a full terminal
        with contextlib.suppress(OSError):  # the other end is closed and everything has been read
            while part := os.read(terminal, 65536):
                shown.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    start = "from trbert_deploy.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", start, "predict", str(bundle), "--data", str(reviews_file)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        timeout=120,
        check=False,
    )
    os.close(stderr)
    reader.join()
    os.close(terminal)
    assert done.returncode == 0
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [review["id"] for review in REVIEWS]
    assert b"30/" in shown
    assert b'"scores"' not in shown
