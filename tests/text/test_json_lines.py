import gzip
import io
import json
import lzma
import sys
import types

import pytest

from trbert_deploy.core.errors import InputError
from trbert_deploy.tasks import TASKS, Limits
from trbert_deploy.text.items import read_item
from trbert_deploy.text.json_lines import read_json_lines

LIMITS = Limits(max_length=16, vocab_size=100, token_types=2)


def item_of(task, value, number=3):
    return read_item(TASKS.get(task).spec(LIMITS), value, number)


# -- files


def test_lines_in_order_blank_ones_skipped_and_sources_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\n   \n{"text": "zw\xc3\xb6lf \xe2\x80\xa8 x"}')
    lines = list(read_json_lines(path))
    assert lines == [{"text": "one"}, {"text": "zwölf \u2028 x"}]
    assert [line.source for line in lines] == [f"{path}, line 1", f"{path}, line 4"]


@pytest.mark.parametrize(("suffix", "opener"), [(".xz", lzma.open), (".gz", gzip.open)])
def test_compressed_files(tmp_path, suffix, opener):
    path = tmp_path / f"a.jsonl{suffix}"
    with opener(path, "wb") as file:
        file.write(b'{"id": 1}\n{"id": 2}\n')
    assert [line["id"] for line in read_json_lines(str(path))] == [1, 2]


@pytest.mark.parametrize(("suffix", "opener"), [(".xz", lzma.open), (".gz", gzip.open)])
def test_cut_or_foreign_compressed_file_is_an_input_error(tmp_path, suffix, opener):
    path = tmp_path / f"a.jsonl{suffix}"
    with opener(path, "wb") as file:
        file.write(b"".join(b'{"id": %d}\n' % n for n in range(1000)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read beyond line"):
        list(read_json_lines(path))
    path.write_bytes(b'{"id": 1}\n')
    with pytest.raises(InputError, match="cannot be read beyond line 0"):
        list(read_json_lines(path))


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b'{"id": 1}\nnonsense\n')))
    lines = read_json_lines("-")
    assert next(lines) == {"id": 1}
    with pytest.raises(InputError, match="standard input, line 2 is not valid JSON"):
        next(lines)


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (b'{"text": "a"', "not valid JSON"),
        (b"[1, 2]", "JSON list, not an object"),
        (b'"text"', "JSON str, not an object"),
        (b'{"text": "caf\xe9"}', "not valid UTF-8"),
        (b'{"id": "\\ud83d"}', "surrogate"),
        (b'{"n": ' + b"9" * 5000 + b"}", "the integer 9+.* has more than 64 bits"),
        (b'{"id": 1180591620717411303424}', "the integer 1180591620717411303424 has more than 64 bits"),
        (b'{"id": NaN}', "NaN is no JSON number"),
        (b'{"id": 1, "text": "a", "more": [{"score": -Infinity}]}', "-Infinity is no JSON number"),
        (b'{"id": 1e999}', "the number 1e999 is larger than a float64 can be"),
        (b'{"id": 1, "id": 2}', "the key 'id' is there twice"),
        (b"[" * 200_000, "nested more than 64 deep"),
    ],
)
def test_broken_line_is_named_after_the_lines_before_it(tmp_path, broken, what):
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(b'{"id": 1}\n\n' + broken + b'\n{"id": 2}\n')
    lines = read_json_lines(path)
    assert next(lines) == {"id": 1}
    with pytest.raises(InputError, match=what) as caught:
        next(lines)
    assert f"{path}, line 3" in caught.value.message
    assert caught.value.hint


def test_a_whole_surrogate_pair_is_text(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "\\ud83d\\ude00"}\n')
    assert list(read_json_lines(tmp_path / "a.jsonl")) == [{"text": "\N{GRINNING FACE}"}]


def test_missing_file_and_folder_are_refused_at_once(tmp_path):
    for path, what in ((tmp_path / "none.jsonl", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=what) as caught:
            read_json_lines(path)
        assert caught.value.hint


def test_reading_is_streamed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1}\n' + "x" * 10 + "\n", encoding="utf-8")
    assert next(read_json_lines(path)) == {"id": 1}, "the broken second line must not be reached"


# -- items


@pytest.mark.parametrize(
    ("task", "value", "texts"),
    [
        ("sequence-classification", "a", ("a",)),
        ("sequence-classification", ("a", "b"), ("a", "b")),
        ("sequence-classification", ("a", None), ("a",)),
        ("sequence-classification", {"text": "a", "text_pair": None}, ("a",)),
        ("sequence-classification", {"text_pair": "b", "text": "a"}, ("a", "b")),
        ("token-classification", "a", ("a",)),
        ("question-answering", ("q", "c"), ("q", "c")),
        ("question-answering", {"context": "c", "question": "q"}, ("q", "c")),
        ("multiple-choice", {"question": "q", "context": "c", "choices": ["x", "y"]}, ("c", "q", "x", "y")),
    ],
)
def test_items_of_text(task, value, texts):
    assert item_of(task, value).texts == texts


def test_further_keys_are_carried():
    assert item_of("sequence-classification", {"text": "a", "id": 7, "label": 1}).extras == {
        "id": 7,
        "label": 1,
    }


@pytest.mark.parametrize(
    ("task", "value", "accepted"),
    [
        ("sequence-classification", {"texts": "a"}, "text_pair"),
        ("sequence-classification", ("a", "b", "c"), "text_pair"),
        ("sequence-classification", 5, "text"),
        ("sequence-classification", None, "text"),
        ("sequence-classification", {}, "text"),
        ("token-classification", ("a", "b"), "text"),
        ("token-classification", {"text": "a", "text_pair": "b"}, "text"),
        ("question-answering", "a", "question, context"),
        ("question-answering", {"question": "q"}, "question, context"),
        ("multiple-choice", {"context": "c", "question": "q"}, "choices"),
        ("hotpot", {"question": "q", "context": "c"}, "sentence_spans"),
        ("wikihop", "a", "candidate_positions"),
    ],
)
def test_item_that_is_not_understood_is_named_with_what_is_accepted(task, value, accepted):
    with pytest.raises(InputError) as caught:
        item_of(task, value)
    assert "item 3" in caught.value.message
    assert task in caught.value.message
    assert accepted in caught.value.hint
    assert "input_ids" in caught.value.hint


@pytest.mark.parametrize(
    ("task", "value", "what"),
    [
        ("sequence-classification", {"text": 5}, "text must be text, not int"),
        ("sequence-classification", "half \ud83d", "surrogate pair at character 5"),
        ("multiple-choice", {"context": "c", "question": "q", "choices": []}, "choices"),
        ("multiple-choice", {"context": "c", "question": "q", "choices": "xy"}, "choices"),
        ("multiple-choice", {"context": "c", "question": "q", "choices": ["x", 1]}, "a choice must be text"),
    ],
)
def test_item_with_a_wrong_value(task, value, what):
    with pytest.raises(InputError, match=what):
        item_of(task, value)


def test_line_is_named_by_file_and_number(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"body": "a"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.jsonl, line 2 has the keys body"):
        item_of("sequence-classification", next(read_json_lines(path)))


def test_token_ids_are_checked_and_cut_to_the_real_tokens():
    item = item_of(
        "hotpot",
        {
            "input_ids": [2, 5, 6, 3, 0, 0],
            "attention_mask": [1, 1, 1, 1, 0, 0],
            "sentence_spans": [[1, 2], [-1, -1]],
            "context": "ab cd",
            "offsets": [None, [0, 2], [3, 5], None, None, None],
            "id": "x",
        },
    )
    assert {name: array.tolist() for name, array in item.arrays.items()} == {
        "input_ids": [2, 5, 6, 3],
        "attention_mask": [1, 1, 1, 1],
        "token_type_ids": [0, 0, 0, 0],
        "sentence_spans": [[1, 2], [-1, -1]],
    }
    assert item.offsets == [None, (0, 2), (3, 5), None]
    assert item.context == "ab cd"
    assert item.extras == {"id": "x"}


def test_multiple_choice_token_ids_take_either_spelling_of_the_question_end():
    for key in ("question_end", "question_ends"):
        item = item_of("multiple-choice", {"input_ids": [[2, 5, 3], [2, 6, 3]], key: 2})
        assert item.arrays["question_ends"] == 2
        assert item.arrays["input_ids"].shape == (2, 3)


def test_a_row_without_sentences_or_candidates():
    assert item_of("hotpot", {"input_ids": [2, 3], "sentence_spans": []}).arrays["sentence_spans"].tolist() == [
        [-1, -1]
    ]
    assert item_of("wikihop", {"input_ids": [2, 3], "candidate_positions": []}).arrays[
        "candidate_positions"
    ].tolist() == [-1]


@pytest.mark.parametrize(
    ("task", "value", "what"),
    [
        ("sequence-classification", {"input_ids": [2, 100]}, "vocabulary of this model ends at 99"),
        ("sequence-classification", {"input_ids": [1] * 17}, "17 tokens, the model takes 16"),
        ("sequence-classification", {"input_ids": []}, "empty"),
        ("sequence-classification", {"input_ids": "a"}, "integers|rows"),
        ("sequence-classification", {"input_ids": [1, 2], "attention_mask": [0, 1]}, "hole"),
        ("sequence-classification", {"input_ids": [1, 2], "attention_mask": [0, 0]}, "all padding"),
        ("hotpot", {"input_ids": [1, 2]}, "needs sentence_spans"),
        ("wikihop", {"input_ids": [1, 2], "candidate_positions": [2]}, "candidate_positions"),
        (
            "hotpot",
            {"input_ids": [1, 2], "sentence_spans": [[0, 1]], "context": "a", "offsets": [None]},
            "each of the 2",
        ),
        (
            "question-answering",
            {"input_ids": [1, 2], "context": "a", "offsets": [None, [0, 2]]},
            r"offsets\[1\] must be null or",
        ),
    ],
)
def test_wrong_token_ids_are_named(task, value, what):
    with pytest.raises(InputError, match=what) as caught:
        item_of(task, value)
    assert caught.value.message.startswith("item 3: ")


def test_items_survive_json(tmp_path):
    value = {"id": "é", "text": "a\nb", "text_pair": "c"}
    (tmp_path / "a.jsonl").write_text(json.dumps(value) + "\n", encoding="utf-8")
    assert item_of("sequence-classification", next(read_json_lines(tmp_path / "a.jsonl"))).texts == (
        "a\nb",
        "c",
    )


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_tables_are_for_train(tmp_path, name):
    (tmp_path / name).write_bytes(b"text,label\na film,1\n")
    with pytest.raises(InputError, match="`train` alone takes") as caught:
        read_json_lines(tmp_path / name)
    assert "one JSON object a line" in caught.value.hint
