"""Items as JSON: what is refused, and what is answered without further ado."""

from __future__ import annotations

import json

import pytest
from broken_bundles import INPUT

ITEMS = [
    (b"{", "not valid JSON"),
    (b"[1]", "is a JSON array"),
    (b'["a", "b", "c"]', "is a JSON array"),
    (b"3", "is a JSON number"),
    (b"{}", "the keys \\(none\\)"),
    (b'{"text": 1}', "text must be text"),
    (b'{"text": null}', "the keys"),
    (b'{"text": "\xff"}', "not valid JSON"),
    (b'{"text": "\xed\xa0\x80"}', "not valid JSON"),
    (b'{"text": "\\ud800"}', "not valid JSON"),
    (b"[" * 100_000, "not valid JSON"),
    (b'{"question": "a", "context": "b"}', "the keys context, question"),
    (b'{"text": "a", "id": 12345678901234567890123}', "the integer 12345678901234567890123 has more than 64 bits"),
    (b'{"text": "a", "id": {"deep": ["b", -9223372036854775809]}}', "more than 64 bits"),
    (b'{"input_ids": [2, 5, 3], "id": 18446744073709551616}', "more than 64 bits"),
    (b'{"text": "a", "id": 1e999}', "not valid JSON"),
    (b'{"text": "a", "text": "b"}', "the key 'text' is there twice"),
    (b'\xef\xbb\xbf{"text": "a"}', "byte order mark"),
    (b'{"input_ids": []}', "batch is empty"),
    (b'{"input_ids": [[1]]}', "must be \\[rows, tokens\\]"),
    (b'{"input_ids": [1, [2]]}', "not a rectangular"),
    (b'{"input_ids": [1.5]}', "an integer is wanted"),
    (b'{"input_ids": [99999999999999999999]}', "more than 64 bits"),
    (b'{"input_ids": [18446744073709551615]}', "too large"),
    (b'{"input_ids": [-1]}', "is -1, but the vocabulary"),
    (b'{"input_ids": [120]}', "is 120, but the vocabulary"),
    (b'{"input_ids": [1, 2], "attention_mask": [1]}', "attention_mask is of shape"),
    (b'{"input_ids": [1, 2], "attention_mask": [0, 1]}', "all padding"),
    (b'{"input_ids": [1, 2, 3], "attention_mask": [1, 0, 1]}', "has a hole"),
    (b'{"input_ids": [1, 2], "attention_mask": [1, 2]}', "0 and 1 only"),
    (b'{"input_ids": [1, 2], "token_type_ids": [0, 2]}', "token types of this model ends at 1"),
    (b'{"input_ids": [%s 1]}' % (b"1," * 64), "has 65 tokens, the model takes 64"),
]


@pytest.mark.parametrize(("raw", "message"), ITEMS)
def test_items_that_are_refused(cpp_engine, text_bundle, raw, message):
    engine = cpp_engine(text_bundle("sequence-classification"), "staged")
    with pytest.raises(Exception, match=message) as caught:
        engine.predict(raw)
    assert caught.value.code == INPUT
    assert json.loads(engine.predict('{"text": "still alive"}'))["label"]


def test_texts_and_pairs_without_keys(cpp_engine, text_bundle):
    engine = cpp_engine(text_bundle("sequence-classification"), "staged")
    lines = engine.predict('"a film"\n{"text": "a film"}\n["a film", "its pair"]\n').splitlines()
    assert lines[0] == lines[1]
    assert json.loads(lines[2])["token_count"] > json.loads(lines[0])["token_count"]


def test_nothing_is_answered_with_nothing(cpp_engine, text_bundle):
    assert cpp_engine(text_bundle("sequence-classification"), "staged").predict("\n \n") == ""


def test_an_oversize_text_is_truncated_and_says_so(cpp_engine, text_bundle):
    engine = cpp_engine(text_bundle("sequence-classification"), "staged")
    answer = json.loads(engine.predict(json.dumps({"text": "a film " * 200_000})))
    assert answer["truncated"] is True
    assert answer["token_count"] == 64
