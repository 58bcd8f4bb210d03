import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import types

import pytest
from tokenizers import BertWordPieceTokenizer

import trbert_deploy
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.cli.main import main
from trbert_deploy.data import read_json_lines

REVIEWS = list(read_json_lines(evaluation_file()))[:30]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, tiny_model):
    """A tiny random classifier with a real tokenizer, exported as users do."""
    from trbert_deploy.checkpoint import load_checkpoint, save_checkpoint
    from trbert_deploy.export.exporter import export_bundle

    folder = tmp_path_factory.mktemp("predict")
    save_checkpoint(tiny_model("sequence-classification"), folder / "model")
    trained = BertWordPieceTokenizer()
    trained.train_from_iterator(
        [review["text"] for review in REVIEWS], vocab_size=120, limit_alphabet=36, show_progress=False
    )
    trained.save_model(str(folder / "model"))
    return export_bundle(load_checkpoint(folder / "model"), folder / "bundle").folder


@pytest.fixture(scope="session")
def answers(bundle):
    """What the library answers to the reviews, one by one, on the PyTorch reference."""
    with trbert_deploy.load(bundle, runtime="torch") as engine:
        return [engine.predict([review])[0] for review in REVIEWS]


@pytest.fixture
def run(monkeypatch, capsys, bundle):
    """Runs the verb on the bundle: exit code, answers on stdout, stderr."""

    def run(*arguments, stdin=None, folder=bundle):
        monkeypatch.setattr(sys, "argv", ["trbert-deploy", "predict", str(folder), *map(str, arguments)])
        fake = types.SimpleNamespace(buffer=io.BytesIO(stdin or b""), isatty=lambda: stdin is None)
        monkeypatch.setattr(sys, "stdin", fake)
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code or 0, [json.loads(line) for line in printed.out.splitlines()], printed.err

    return run


@pytest.fixture
def reviews_file(tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(json.dumps(review) + "\n" for review in REVIEWS), encoding="utf-8")
    return path


def close(found, wanted):
    return (
        len(found) == len(wanted)
        and all(
            one["scores"] == pytest.approx(other["scores"], abs=1e-4)
            for one, other in zip(found, wanted, strict=True)
        )
        and [dict(one, score=0, scores=0) for one in found]
        == [dict(one, score=0, scores=0) for one in wanted]
    )


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
    assert close(
        [{"id": answer["id"], **own} for answer, own in zip(answers, found, strict=False)], answers[:2]
    )
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


def test_a_broken_line_is_named_after_the_answers_before_it(run, reviews_file, answers):
    with reviews_file.open("a", encoding="utf-8") as file:
        file.write('\n{"text": "cut\n{"text": "after"}\n')
    code, found, stderr = run("--data", reviews_file)
    assert code == 1
    assert close(found, answers)
    assert f"{reviews_file}, line 32 is not valid JSON" in stderr
    assert "hint:" in stderr


def test_an_item_that_is_not_understood_is_named_by_its_line(run, reviews_file):
    reviews_file.write_text('{"text": "a"}\n\n{"review": "b"}\n', encoding="utf-8")
    code, found, stderr = run("--data", reviews_file)
    assert code == 1
    assert len(found) == 1
    assert "line 3 has the keys review" in stderr
    assert "text_pair" in stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "what"),
    [((), None, "no input"), ((), b"\n\n", "no input"), (("a", "--data", "-"), b"{}", "not both")],
)
def test_no_input_and_two_inputs_are_usage_errors(run, arguments, stdin, what):
    code, found, stderr = run(*arguments, stdin=stdin)
    assert code == 2
    assert found == []
    assert what in stderr


def test_missing_file_and_no_bundle(run, tmp_path):
    code, _, stderr = run("--data", tmp_path / "none.jsonl")
    assert code == 1
    assert "does not exist" in stderr
    code, _, stderr = run("a", folder=tmp_path)
    assert code == 1
    assert "is not a bundle" in stderr


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
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [
        review["id"] for review in REVIEWS
    ]
    assert b"30/" in shown
    assert b'"scores"' not in shown
