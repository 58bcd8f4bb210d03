"""AddressSanitizer with UndefinedBehaviorSanitizer, and ThreadSanitizer, on the library's own code.

ONNX Runtime is not instrumented; runtimes/cpp/tests/thread_sanitizer.supp says what that means.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.text.json_lines import read_json_lines

SANITIZERS = ("address,undefined", "thread")
REVIEWS = [line["text"][: 1 + number * 37 % 400] for number, line in enumerate(read_json_lines(evaluation_file()))][:24]


@pytest.fixture(params=SANITIZERS)
def built(request, sanitized):
    return sanitized(request.param)


def run(built, *words, **options):
    command = [*built.prefix(), *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=built.environment(), timeout=600, **options
    )


def test_nothing_is_found_in_the_unit_tests(built):
    """Among them 8 threads that call one engine, staged, with batches of unlike texts, while others come and go."""
    done = run(built, "ctest", "--test-dir", built.build, "--output-on-failure", "--no-tests=error")
    assert done.returncode == 0, done.stdout
    assert "100% tests passed" in done.stdout


@pytest.mark.slow  # the unit tests go the same ways through the library
@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_nothing_is_found_in_the_tool(built, mode, text_bundle):
    bundle = text_bundle("sequence-classification")
    lines = "\n".join(json.dumps({"text": text}) for text in REVIEWS)
    words = (built.build / "trbert-run", bundle, "--mode", mode, "--threads", "4", "--batch-size", "9")
    done = run(built, *words, input=lines)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(REVIEWS)
    broken = run(built, *words, input='{"text": 1}')
    assert broken.returncode == 1
    assert broken.stderr.startswith("error: line 1: ")


@pytest.mark.parametrize(
    ("sanitizer", "planted", "message"),
    [
        ("address,undefined", "planted read behind the end", "AddressSanitizer: heap-buffer-overflow"),
        ("address,undefined", "planted overflow", "signed integer overflow"),
        ("thread", "planted race", "ThreadSanitizer: data race"),
    ],
)
def test_what_is_planted_is_found(sanitized, sanitizer, planted, message):
    built = sanitized(sanitizer)
    done = run(built, built.build / "tests" / "trbert-unit-tests", "--no-skip", f"--test-case={planted}")
    assert done.returncode != 0
    assert message in done.stderr
