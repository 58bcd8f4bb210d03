"""What `trbert-deploy predict` does not answer is named, after the answers before it."""

import json

import numpy as np
import pytest
from predicted import close

import trbert_deploy


@pytest.fixture
def breaking(monkeypatch):
    """Makes the model give no number for rows of so many tokens."""
    run = trbert_deploy.Engine.run

    def break_rows(length, value):
        def broken(self, **inputs):
            output = run(self, **inputs)
            output["logits"][inputs["attention_mask"].sum(-1) == length] = value
            return output

        monkeypatch.setattr(trbert_deploy.Engine, "run", broken)

    return break_rows


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_no_number_is_an_error_that_names_the_item(run, breaking, value, tmp_path):
    lines = [{"id": number, "input_ids": [2, *range(5, 5 + number), 3]} for number in range(8)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    breaking(7, value)
    code, found, stderr = run("--data", data, "--batch-size", "3")
    assert code == 1
    assert [answer["id"] for answer in found] == [0, 1, 2, 3, 4], "all before it are answered"
    assert f"error: {data}, line 6: the model's output logits is not finite" in stderr
    assert "hint: check the bundle on this machine: trbert-deploy verify" in stderr
    code, _, stderr = run("--data", data, "--out", tmp_path / "out.jsonl")
    assert code == 1
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_not_handed_through(run, number):
    code, found, stderr = run(stdin=b'{"id": 1, "text": "a"}\n{"id": ' + number.encode() + b', "text": "b"}\n')
    assert code == 1
    assert [answer["id"] for answer in found] == [1]
    assert "line 2 is not JSON that can be read" in stderr
    assert number.strip("-") in stderr


def test_what_no_json_can_say_is_an_error():
    from trbert_deploy.cli.output import json_text
    from trbert_deploy.core.errors import TRBertError

    assert json_text({"a": [1.5, None]}, "this") == '{"a": [1.5, null]}'
    for value in (float("nan"), float("inf")):
        with pytest.raises(TRBertError, match=r"^this holds a number that is not finite"):
            json_text({"a": [value]}, "this")


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
