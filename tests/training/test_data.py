"""Labelled files in, and batches out."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
from itertools import pairwise

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from trbert_deploy.core.errors import InputError
from trbert_deploy.training.batches import BatchSampler, TokenizedExamples
from trbert_deploy.training.data import Examples, hold_out, read_examples

KINDS = ["jsonl", "json", "jsonl.xz", "jsonl.gz", "csv", "parquet"]
TABLES = ["csv", "parquet"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """datasets keeps what it has read."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def write(tmp_path):
    """Writes rows to a file of a kind; every row has the same columns."""

    def to(kind, rows, name="rows"):
        file = tmp_path / f"{name}.{kind}"
        if kind == "csv":
            with file.open("w", newline="", encoding="utf-8") as out:
                writer = csv.DictWriter(out, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        elif kind == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        else:
            opener = {"xz": lzma.open, "gz": gzip.open}.get(kind.rpartition(".")[2], open)
            with opener(file, "wt", encoding="utf-8") as out:
                out.writelines(json.dumps(row) + "\n" for row in rows)
        return file

    return to


# -- reading -------------------------------------------------------------------------------------------------


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
def test_digits_that_are_names_in_part_are_not_guessed_at(write, kind):
    file = write(kind, [{"text": "t", "label": label} for label in ("1", "2", "0")])
    with pytest.raises(InputError, match=r"(row|line) 3: label '0' is none of 1, 2"):
        read_examples(file, ["1", "2"])


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


# -- tokens --------------------------------------------------------------------------------------------------

TEXTS = ["a good film", "bad", "a b c d e f g h a b c d e f g h", ""]
PAIRS = ["a plot", "a b c d e f g h a b c d e f g h", "dull b", "g"]


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("max_length", [12, 32])
def test_batches_hold_what_transformers_own_tokenizer_gives(tokenizer, pairs, max_length):
    texts = list(zip(TEXTS, PAIRS, strict=True)) if pairs else [(text,) for text in TEXTS]
    tokenized = TokenizedExamples(Examples(texts, np.array([1, 0, 2, 1]), ("x", "y", "z")), tokenizer, max_length)
    wanted = tokenizer(
        TEXTS, PAIRS if pairs else None, truncation=True, max_length=max_length, padding=True, return_tensors="pt"
    )
    rows = np.array([2, 0, 3, 1])
    batch = tokenized.batch(rows)
    width = wanted["input_ids"].shape[1]
    for name, tensor in batch.inputs.items():
        assert tensor.dtype == torch.int64
        np.testing.assert_array_equal(tensor[:, :width], wanted[name][rows])
        assert not tensor[:, width:].any()
    assert batch.labels.tolist() == [2, 1, 1, 0]
    assert batch.rows.tolist() == [2, 0, 3, 1]
    np.testing.assert_array_equal(tokenized.lengths, wanted["attention_mask"].sum(-1))
    assert len(tokenized) == len(batch) == 4


def test_rows_with_and_without_a_pair_in_one_file(tokenizer):
    for texts in ([("a",), ("b", "c d")], [("b", "c d"), ("a",)]):
        tokenized = TokenizedExamples(Examples(texts, np.array([0, 1]), ("x", "y")), tokenizer, 16)
        for row, parts in enumerate(texts):
            wanted = tokenizer(*parts)
            batch = tokenized.batch(np.array([row]))
            length = len(wanted["input_ids"])
            assert batch.input_ids[0, :length].tolist() == wanted["input_ids"]
            assert batch.token_type_ids[0, :length].tolist() == wanted["token_type_ids"]


def test_thousands_of_rows_keep_their_order(tokenizer):
    words = list("abcdefgh")
    texts = [(" ".join(words[: row % 7 + 1]),) for row in range(2500)]
    tokenized = TokenizedExamples(Examples(texts, np.arange(2500), ("x",)), tokenizer, 16)
    assert tokenized.lengths.tolist() == [row % 7 + 3 for row in range(2500)]


def test_in_order_gives_every_row_once_the_longest_first(tokenizer):
    texts = [(" ".join("a" * (1 + row * 5 % 11)),) for row in range(11)]
    tokenized = TokenizedExamples(Examples(texts, np.zeros(11, np.int64), ("x",)), tokenizer, 16)
    batches = list(tokenized.in_order(4))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    rows = np.concatenate([batch.rows for batch in batches])
    assert sorted(rows) == list(range(11))
    assert (np.diff(tokenized.lengths[rows]) <= 0).all()


# -- the sampler ---------------------------------------------------------------------------------------------

RNG_LENGTHS = np.random.default_rng(0).integers(3, 300, 1003)


def all_steps(sampler):
    return [sampler.rows(step) for step in range(sampler.steps)]


def test_a_sampler_depends_on_its_seed_alone_and_not_on_what_was_asked_before():
    first, second, other = (BatchSampler(RNG_LENGTHS, 8, 2.5, seed) for seed in (5, 5, 6))
    assert first.steps == second.steps == round(2.5 * (1003 // 8))
    there = all_steps(first)
    for step in (311, 3, 200, 126, 0, 125):
        np.testing.assert_array_equal(second.rows(step), there[step])
    assert any(set(a) != set(b) for a, b in zip(there, all_steps(other), strict=True))


def test_every_epoch_takes_each_row_at_most_once_in_an_order_of_its_own():
    steps = all_steps(BatchSampler(RNG_LENGTHS, 8, 3, 0))
    assert all(len(rows) == 8 for rows in steps)
    epochs = [np.concatenate(steps[start : start + 125]) for start in (0, 125, 250)]
    for rows in epochs:
        assert len(set(rows.tolist())) == 1000  # three are left out
    for one, other in pairwise(epochs):
        assert (one != other).mean() > 0.9
    assert len(set.intersection(*(set(range(1003)) - set(rows.tolist()) for rows in epochs))) == 0  # others each time
    batches = [{frozenset(rows.tolist()) for rows in steps[start : start + 125]} for start in (0, 125, 250)]
    assert len(batches[0] & batches[1]) < 5  # rows meet others


def test_rows_of_a_batch_are_of_like_lengths_and_lengths_come_in_random_order():
    steps = all_steps(BatchSampler(RNG_LENGTHS, 8, 1, 0))
    spread = np.mean([np.ptp(RNG_LENGTHS[rows]) for rows in steps])
    unsorted = np.mean([np.ptp(RNG_LENGTHS[start : start + 8]) for start in range(0, 1000, 8)])
    assert spread < unsorted / 10
    means = np.array([RNG_LENGTHS[rows].mean() for rows in steps])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


@pytest.mark.parametrize(("epochs", "steps"), [(1, 5), (0.5, 2), (0.01, 1), (2.4, 12)])
def test_epochs_may_be_a_fraction(epochs, steps):
    assert BatchSampler(RNG_LENGTHS[:23], 4, epochs, 0).steps == steps


def test_fewer_rows_than_a_batch():
    assert BatchSampler(RNG_LENGTHS[:8], 8, 1, 0).steps == 1
    with pytest.raises(InputError, match="7 rows do not fill a batch of 8"):
        BatchSampler(RNG_LENGTHS[:7], 8, 1, 0)
