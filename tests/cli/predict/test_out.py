"""`trbert-deploy predict --out`: written whole or not at all, in the form that the name says."""

import pytest
from predicted import close

from trbert_deploy.text.json_lines import read_json_lines


def test_out_is_written_whole(run, reviews_file, answers, tmp_path):
    out = tmp_path / "answers.jsonl"
    code, found, _ = run("--data", reviews_file, "--out", out)
    assert code == 0
    assert found == []
    assert close(list(read_json_lines(out)), answers)
    before = out.read_bytes()
    code, _, stderr = run("--data", reviews_file, "--out", out)
    assert code == 1
    assert "--force" in stderr
    reviews_file.write_text('{"text": "a"}\nbroken\n', encoding="utf-8")
    code, _, stderr = run("--data", reviews_file, "--out", out, "--force")
    assert code == 1
    assert "line 2" in stderr
    assert out.read_bytes() == before, "a failed run leaves the old answers"
    reviews_file.write_text('{"text": "a"}\n', encoding="utf-8")
    assert run("--data", reviews_file, "--out", out, "--force")[0] == 0
    assert len(list(read_json_lines(out))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "reviews.jsonl"]


@pytest.mark.parametrize("out", ["none/answers.jsonl", "."])
def test_out_that_cannot_be_written(run, tmp_path, out):
    code, _, stderr = run("a text", "--out", tmp_path / out)
    assert code == 1
    assert "error:" in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "options", "hint"),
    [
        ("answers.parquet", (), "answers.jsonl; known endings are .jsonl, .json"),
        ("answers.CSV", (), "known endings are .jsonl, .json"),
        ("answers.html", (), "known endings are .jsonl, .json"),
        ("page.jsonl", ("--show-selection",), "page.html; known endings are .html, .htm, .txt"),
        ("page.pdf", ("--show-selection",), "known endings are .html, .htm, .txt"),
    ],
)
def test_a_name_that_promises_another_form_is_refused(run_raw, tmp_path, out, options, hint):
    code, stdout, stderr = run_raw("a text", "--out", tmp_path / out, *options)
    assert (code, stdout) == (1, "")
    assert f"promises something else\nhint: --out {tmp_path}/" in stderr
    assert hint in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("out", "options"), [("a.JSON", ()), ("answers", ()), ("a.htm", ("--show-selection",))])
def test_known_endings_are_taken(run_raw, tmp_path, out, options):
    assert run_raw("a text", "--out", tmp_path / out, *options)[0] == 0
    assert (tmp_path / out).stat().st_size > 0
