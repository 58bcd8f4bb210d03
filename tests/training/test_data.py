"""Labelled files in."""

from __future__ import annotations

import numpy as np
import pytest

from trbert_deploy.training.data import Examples, hold_out, read_examples

KINDS = ["jsonl", "json", "jsonl.xz", "jsonl.gz", "csv", "parquet"]
TABLES = ["csv", "parquet"]

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("kind", KINDS)
def test_texts_and_numbers_of_every_kind_of_file(write, kind):
    rows = [{"text": 'a "good", film', "label": 1}, {"text": "ünd\nzwei", "label": 0}, {"text": "c", "label": 1}]
    examples = read_examples(write(kind, rows))
    assert examples.texts == [('a "good", film',), ("ünd\nzwei",), ("c",)]
    assert examples.labels.tolist() == [1, 0, 1]
    assert examples.labels.dtype == np.int64
    assert examples.names == ("LABEL_0", "LABEL_1")
    assert len(examples) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_and_names_of_every_kind_of_file(write, kind):
    rows = [
        {"text": "a", "text_pair": "b c", "label": "pos"},
        {"text": "d", "text_pair": "e", "label": "neg"},
        {"text": "f", "text_pair": "g", "label": "pos"},
    ]
    examples = read_examples(write(kind, rows))
    assert examples.texts == [("a", "b c"), ("d", "e"), ("f", "g")]
    assert examples.names == ("neg", "pos")
    assert examples.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("kind", ["jsonl", *TABLES])
def test_a_models_labels_give_the_order(write, kind):
    named = write(kind, [{"text": "a", "label": "up"}, {"text": "b", "label": "down"}])
    numbered = write(kind, [{"text": "a", "label": 2}, {"text": "b", "label": 0}], name="numbered")
    for file, wanted in ((named, [2, 0]), (numbered, [2, 0])):
        examples = read_examples(file, ["down", "same", "up"])
        assert examples.names == ("down", "same", "up")
        assert examples.labels.tolist() == wanted


@pytest.mark.parametrize("kind", ["jsonl", *TABLES])
@pytest.mark.parametrize(
    ("names", "labels", "wanted"),
    [
        (("1", "2", "3"), ("1", "2"), [0, 1]),
        (("-1", "0", "1"), ("0", "1"), [1, 2]),
        (("0", "1"), ("0", "1"), [0, 1]),
        (("10", "20"), ("20", "10"), [1, 0]),
    ],
)
def test_names_of_digits_are_names_in_every_kind_of_file(write, kind, names, labels, wanted):
    file = write(kind, [{"text": "t", "label": label} for label in labels])
    assert read_examples(file, names).labels.tolist() == wanted


@pytest.mark.parametrize("kind", ["jsonl", *TABLES])
def test_numbers_are_numbers_where_names_are_other_digits(write, kind):
    file = write(kind, [{"text": "t", "label": label} for label in (2, 0)])
    assert read_examples(file, ["10", "20", "30"]).labels.tolist() == [2, 0]


def test_numbers_that_leave_some_out_still_count_from_zero(write):
    examples = read_examples(write("jsonl", [{"text": "a", "label": 3}, {"text": "b", "label": 1}]))
    assert examples.names == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    assert examples.labels.tolist() == [3, 1]
    only_zero = read_examples(write("jsonl", [{"text": "a", "label": 0}], name="zero"))
    assert only_zero.names == ("LABEL_0", "LABEL_1")


def test_named_classes_may_have_no_row(write):
    file = write("csv", [{"text": "t", "label": label} for label in (0, 4)])
    assert read_examples(file, list("abcde")).labels.tolist() == [0, 4]


def test_a_changed_file_is_read_anew(write):
    for label in (0, 1):
        file = write("csv", [{"text": "a", "label": label}])
        assert read_examples(file).labels.tolist() == [label]


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", ["rows[1]", "rows*", "a b", "x=1"])
def test_a_table_may_have_any_name(write, kind, name):
    assert len(read_examples(write(kind, [{"text": "a", "label": 0}], name=name))) == 1


@pytest.mark.parametrize("kind", ["jsonl", *TABLES])
@pytest.mark.parametrize("text", ["NA", "null", "nan", "None", "12", "1.5", "true"])
def test_a_text_is_a_text_whatever_it_looks_like(write, kind, text):
    examples = read_examples(write(kind, [{"text": text, "label": 1}, {"text": text, "label": 0}]))
    assert examples.texts == [(text,), (text,)]


@pytest.mark.parametrize("kind", ["jsonl", *TABLES])
def test_a_name_is_a_name_whatever_it_looks_like(write, kind):
    rows = [{"text": "a", "label": "none"}, {"text": "b", "label": "null"}, {"text": "c", "label": "b"}]
    assert read_examples(write(kind, rows)).names == ("b", "none", "null")


def test_rows_set_aside_are_not_trained_on():
    examples = Examples([(str(row),) for row in range(40)], np.arange(40) % 2, ("a", "b"))
    rest, aside = hold_out(examples, 0.1, seed=3)
    assert (len(rest), len(aside)) == (36, 4)
    assert sorted(rest.texts + aside.texts) == sorted(examples.texts)
    assert [int(text) % 2 for (text,) in aside.texts] == aside.labels.tolist()
    assert hold_out(examples, 0.1, seed=3)[1].texts == aside.texts
    assert hold_out(examples, 0.1, seed=4)[1].texts != aside.texts
    assert len(hold_out(examples, 0.001, seed=3)[1]) == 1
    assert len(hold_out(examples, 0.999, seed=3)[0]) == 1
