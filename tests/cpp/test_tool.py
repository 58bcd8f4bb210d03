"""The command-line tool: its exit codes, and what it answers before it fails."""

from __future__ import annotations

import json
import subprocess

import pytest
from broken_bundles import replace


def tool(cpp, *words, stdin=b""):
    result = subprocess.run([cpp.run, *words], input=stdin, capture_output=True, check=False)
    return result.returncode, result.stdout.decode(), result.stderr.decode()


def test_the_tools_exit_codes(cpp, text_bundle, broken):
    bundle = text_bundle("sequence-classification")
    assert tool(cpp, bundle, "--verify")[0] == 0
    assert tool(cpp, "--help")[0] == 0
    for words in (
        [],
        [bundle, "--unknown"],
        [bundle, "--threads", "0"],
        [bundle, "--mode", "quick"],
        [bundle, "--data"],
    ):
        code, stdout, stderr = tool(cpp, *words)
        assert (code, stdout) == (2, "")
        assert "usage: trbert-run" in stderr
    for words in (
        ["/nothing"],
        [bundle, "--device", "cuda"],
        [bundle, "--device", "x"],
        [bundle, "--data", "/nothing"],
    ):
        code, stdout, stderr = tool(cpp, *words)
        assert (code, stdout) == (1, "")
        assert stderr.startswith("error: ")
    assert tool(cpp, bundle, b"\xff")[0] == 1
    golden = json.loads((broken / "golden.json").read_text(encoding="utf-8"))
    golden["batches"][0]["outputs"]["logits"][0][0] += 1
    replace(broken, "golden.json", json.dumps(golden).encode())
    code, stdout, stderr = tool(cpp, broken, "--verify")
    assert code == 1
    assert json.loads(stdout)["passed"] is False
    assert "logits differs" in stderr


def test_the_tool_answers_what_stands_before_a_broken_line(cpp, text_bundle):
    lines = b'\xef\xbb\xbf{"text": "one"}\n\n{"text": "two"}\n{"text": 3}\n{"text": "four"}\n'
    code, stdout, stderr = tool(cpp, text_bundle("sequence-classification"), stdin=lines)
    assert code == 1
    assert len(stdout.splitlines()) == 2
    assert stderr.startswith("error: line 4: text must be text")
    assert tool(cpp, text_bundle("sequence-classification"), stdin=b"{")[2].startswith(
        "error: line 1 is not valid JSON"
    )


def test_the_tool_takes_texts_that_look_like_options(cpp, text_bundle):
    code, stdout, _ = tool(cpp, text_bundle("sequence-classification"), "--threads", "1", "--", "--help", "--", "-5")
    assert code == 0
    assert len(stdout.splitlines()) == 3


@pytest.mark.parametrize("words", [["a film"], ["--verify"], ["a film", "--bench", "1"], ["--version"], ["--help"]])
def test_the_tool_fails_where_its_output_is_lost(cpp, text_bundle, words):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [cpp.run, text_bundle("sequence-classification"), *words], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: the standard output cannot be written")


def test_the_tool_fails_where_its_input_cannot_be_read(cpp, text_bundle, tmp_path):
    bundle = text_bundle("sequence-classification")
    unreadable = "/proc/self/mem"  # opens, and fails to be read
    for suffix, program in ((".gz", "gzip -dc"), (".xz", "xz -dc")):
        (tmp_path / f"lines.jsonl{suffix}").write_bytes(b"")
        code, stdout, stderr = tool(cpp, bundle, "--data", tmp_path / f"lines.jsonl{suffix}")
        assert (code, stdout) == (1, "")
        assert "is compressed" in stderr
        assert program in stderr
    for words in (["--data", unreadable], ["--data", unreadable, "--bench", "1"]):
        code, stdout, stderr = tool(cpp, bundle, *words)
        assert (code, stdout, stderr) == (1, "", f"error: {unreadable} cannot be read beyond line 0\n")
    code, stdout, stderr = tool(cpp, bundle, "--data", tmp_path)
    assert (code, stdout) == (1, "")
    assert "is a folder" in stderr
    with open(unreadable, "rb") as stdin:
        done = subprocess.run([cpp.run, bundle], stdin=stdin, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"error: the standard input cannot be read beyond line 0\n"


def test_the_tool_measures(cpp, text_bundle):
    code, stdout, _ = tool(
        cpp, text_bundle("sequence-classification"), "a text", "another", "--bench", "5", "--threads", "1"
    )
    report = json.loads(stdout)
    assert code == 0
    assert report["rows"] == 2
    assert 0 < report["batch_p50_ms"] <= report["batch_p99_ms"]
    assert report["rows_per_second"] > 0
