"""Labelled files that are refused, each with what is wrong and where."""

from __future__ import annotations

import lzma

import pyarrow
import pyarrow.parquet
import pytest

from trbert_deploy.core.errors import InputError
from trbert_deploy.training.data import read_examples

KINDS = ["jsonl", "json", "jsonl.xz", "jsonl.gz", "csv", "parquet"]
TABLES = ["csv", "parquet"]

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("kind", ["jsonl", *TABLES])
def test_digits_that_are_names_in_part_are_not_guessed_at(write, kind):
    file = write(kind, [{"text": "t", "label": label} for label in ("1", "2", "0")])
    with pytest.raises(InputError, match=r"(row|line) 3: label '0' is none of 1, 2"):
        read_examples(file, ["1", "2"])


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        ("jsonl", [0, 10_000_000], "labels up to 10000000, of which only 2 occur"),
        ("jsonl", [0, 4, 4], "labels up to 4, of which only 2 occur"),
        ("jsonl", [2], "labels up to 2, of which only 1 occur"),
        ("jsonl", [7, 2**63 - 1, 9], f"labels up to {2**63 - 1}, of which only 3 occur"),
        ("csv", [7, 10**30, 9], f"labels up to {10**30}, of which only 3 occur"),
    ],
)
def test_numbers_that_are_somebodys_ids_need_names(write, kind, labels, message):
    file = write(kind, [{"text": "t", "label": label} for label in labels])
    with pytest.raises(InputError, match=message) as caught:
        read_examples(file)
    assert "--labels" in caught.value.hint


@pytest.mark.parametrize("kind", ["jsonl", *TABLES])
@pytest.mark.parametrize("labels", [["a", None, "b"], [0, None, 1]], ids=["names", "numbers"])
def test_a_missing_label_is_named_by_its_row(write, kind, labels):
    file = write(kind, [{"text": "t", "label": label} for label in labels])
    with pytest.raises(InputError, match=rf"rows\.{kind}, (row|line) 2 ") as caught:
        read_examples(file)
    assert "label" in caught.value.message


@pytest.mark.parametrize("kind", ["jsonl", *TABLES])
def test_a_missing_column_is_said_with_those_there_are(write, kind):
    file = write(kind, [{"sentence": "t", "label": 1}])
    with pytest.raises(InputError, match=r"(row|line) 1 .*text and a label.* it has sentence \(str\), label"):
        read_examples(file)


@pytest.mark.parametrize("kind", ["jsonl", *TABLES])
@pytest.mark.parametrize(("good", "bad"), [("down", "sideways"), (0, 2), (1, -1)])
def test_a_label_the_model_does_not_know_is_named_by_its_row(write, kind, good, bad):
    file = write(kind, [{"text": "t", "label": label} for label in (good, good, bad)])
    with pytest.raises(InputError, match=rf"(row|line) 3: label {bad!r} is none of down, up"):
        read_examples(file, ["down", "up"])


def test_labels_are_numbers_or_names_not_both(write):
    file = write("jsonl", [{"text": "t", "label": 0}, {"text": "t", "label": "a"}])
    with pytest.raises(InputError, match="mixes numbers and names"):
        read_examples(file)


@pytest.mark.parametrize("label", [1.0, 0.5, [1], {"a": 1}])
def test_a_label_of_another_type_is_refused(write, label):
    file = write("jsonl", [{"text": "t", "label": 0}, {"text": "t", "label": label}])
    with pytest.raises(InputError, match=r"line 2 .*label"):
        read_examples(file)


@pytest.mark.parametrize("kind", ["jsonl", *TABLES])
def test_negative_labels_are_refused(write, kind):
    file = write(kind, [{"text": "t", "label": label} for label in (0, 1, -1)])
    with pytest.raises(InputError, match="holds the label -1"):
        read_examples(file)


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.xz", "csv", "parquet"])
def test_a_file_without_rows(tmp_path, kind):
    file = tmp_path / f"none.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string()), "label": []}), file)
    else:
        content = b"text,label\n" if kind == "csv" else b"\n"
        file.write_bytes(lzma.compress(content) if kind.endswith("xz") else content)
    with pytest.raises(InputError, match=r"none.* holds no rows"):
        read_examples(file)


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00text,label\n\xff,1\n"], ids=["empty", "not text"])
def test_a_table_that_cannot_be_read(tmp_path, kind, content):
    file = tmp_path / f"broken.{kind}"
    file.write_bytes(content)
    with pytest.raises(InputError, match="broken"):
        read_examples(file)


@pytest.mark.parametrize("name", ["rows.tsv", "rows", "rows.txt"])
def test_a_file_of_no_known_kind(tmp_path, name):
    (tmp_path / name).write_text("text\tlabel\n")
    with pytest.raises(InputError, match=r"is of no known kind.*\.jsonl, \.jsonl\.xz, \.csv, \.parquet"):
        read_examples(tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_there(tmp_path, kind):
    with pytest.raises(InputError, match=rf"gone\.{kind} does not exist"):
        read_examples(tmp_path / f"gone.{kind}")
