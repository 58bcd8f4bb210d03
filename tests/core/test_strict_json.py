"""JSON that means the same to every reader, and nothing else."""

from __future__ import annotations

import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trbert_deploy.core import strict_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_back(value):
    assert strict_json.loads(strict_json.dumps(value)) == value
    assert strict_json.loads(json.dumps(value).encode()) == value  # escaped, as bytes


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("NaN", "NaN is no JSON number"),
        ('{"a": -Infinity}', "-Infinity is no JSON number"),
        ("[1e999]", "larger than a float64"),
        ("-1e999", "larger than a float64"),
        ("9" * 5000, r"the integer 9{80}\.\.\. \(5000 characters\) has more than 64 bits"),
        (str(2**64), "more than 64 bits"),
        (str(-(2**63) - 1), "more than 64 bits"),
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' is there twice"),
        ('"\\ud83d"', "half of a surrogate pair"),
        ('{"\\uDC00": 1}', "half of a surrogate pair"),
        ("[" * 10_000 + "]" * 10_000, "nested more than 64 deep at character 64"),
        ('{"a":' * 10_000, "nested more than 64 deep"),
        ('["[", ' * 64 + "[", "nested more than 64 deep"),
        ("{'a': 1}", "line 1 column 2"),
        ("\ufeff{}", "BOM"),
        ("", "line 1 column 1"),
        ("01", "Extra data"),
        ("{} {}", "Extra data"),
        ('"\t"', "control character"),
    ],
)
def test_what_json_does_not_have(text, what):
    with pytest.raises(ValueError, match=what):
        strict_json.loads(text)


@pytest.mark.parametrize(
    "text", [str(2**64 - 1), str(-(2**63)), "-0", "1e308", '"\\ud83d\\ude00"', '"' + "[" * 100 + '"']
)
def test_what_it_does_have(text):
    assert strict_json.loads(text) == json.loads(text)


def test_brackets_in_strings_do_not_count_however_the_string_ends():
    deepest = "[" * 64 + '"' + "[" * 100 + '\\"]"' + "]" * 64
    assert strict_json.loads(deepest) == json.loads(deepest)
    for unfinished in ('["' + "[" * 100, '["' + '\\"' * 100 + "[" * 100, '["' + "[" * 100 + "\\"):
        with pytest.raises(json.JSONDecodeError):
            strict_json.loads(unfinished)


def test_an_endless_string_takes_no_time_of_its_own():
    start = time.perf_counter()
    with pytest.raises(ValueError, match="Unterminated string"):
        strict_json.loads("[" * 60 + '"' + '\\"[' * 300_000)
    assert time.perf_counter() - start < 5  # 0.1 s; each bracket from the start again would be hours


@pytest.mark.parametrize("number", [float("nan"), float("inf"), [{"a": -float("inf")}]])
def test_what_cannot_be_written(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json.dumps(number)


def test_bytes_that_are_not_utf_8():
    with pytest.raises(UnicodeDecodeError):
        strict_json.loads(b'"\xe9"')
    with pytest.raises(ValueError, match="line 1"):
        strict_json.loads('{"a": 1}'.encode("utf-16-le"))  # Python's own would guess it


def test_a_file(tmp_path):
    file = tmp_path / "file.json"
    file.write_text('{"a": "é"}', encoding="utf-8")
    assert strict_json.read(file, most_bytes=100) == {"a": "é"}
    with pytest.raises(OSError, match="it has 11 bytes, more than the 10 that are read"):
        strict_json.read(file, most_bytes=10)
    with pytest.raises(OSError, match="not a regular file"):
        strict_json.read(tmp_path, most_bytes=10)
    os.mkfifo(tmp_path / "pipe")  # whose other end nobody opens
    with pytest.raises(OSError, match="not a regular file"):
        strict_json.read(tmp_path / "pipe", most_bytes=10)
