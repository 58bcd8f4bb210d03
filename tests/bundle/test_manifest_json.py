"""Manifests that are no JSON, or JSON that is not taken."""

from __future__ import annotations

import json
import os

import pytest
from manifests import write

from trbert_deploy.bundle import open_bundle
from trbert_deploy.bundle.reader import MOST_BYTES
from trbert_deploy.core.errors import BundleError


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2", b"\xff\xfe\x00", b"null", b"[]", b'"1.0"'])
def test_a_manifest_that_is_no_manifest(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_json_does_not_have(tmp_path, facts, number):
    text = json.dumps(facts).replace("0.4", number)
    write(tmp_path, facts)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json is not valid JSON: "):
        open_bundle(tmp_path)


@pytest.mark.parametrize("field", ["environment", "task", "files", "nonsense"])
def test_nested_ten_thousand_deep(tmp_path, facts, field):
    write(tmp_path, facts)
    text = json.dumps(facts | {field: "HERE"}).replace('"HERE"', "[" * 10_000 + "]" * 10_000)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match="nested more than 64 deep"):
        open_bundle(tmp_path)


def test_one_key_twice(tmp_path, facts):
    write(tmp_path, facts)
    (tmp_path / "manifest.json").write_text('{"precision": "fp16", ' + json.dumps(facts)[1:])
    with pytest.raises(BundleError, match="the key 'precision' is there twice"):
        open_bundle(tmp_path)


def test_a_hundred_megabytes_are_refused_unread(folder, monkeypatch):
    monkeypatch.setattr("trbert_deploy.core.strict_json.loads", lambda text: pytest.fail("it was parsed"))
    os.truncate(folder / "manifest.json", 100 * 2**20)
    with pytest.raises(BundleError, match=f"it has 104857600 bytes, more than the {MOST_BYTES} that are read"):
        open_bundle(folder)
