"""Which versions of the schema are read."""

from __future__ import annotations

import jsonschema
import pytest
from manifests import changed, schema_2, write

from trbert_deploy.bundle import SCHEMA_VERSION, open_bundle
from trbert_deploy.bundle.manifest import schema
from trbert_deploy.core.errors import BundleError


def test_a_field_of_a_later_minor_version_is_ignored(tmp_path):
    raw = schema_2() | {"schema_version": "2.99", "new": 1}
    raw["model"]["new"] = raw["task"]["inputs"][0]["new"] = 2
    jsonschema.validate(raw, schema())
    assert open_bundle(write(tmp_path, raw)).manifest.schema_version == "2.99"


@pytest.mark.parametrize(
    ("version", "words", "hint"),
    [
        ("3.0", "schema version 3.0, this release reads 1.x to 2.x", "upgrade trbert-deploy"),
        ("10.3", "schema version 10.3", "upgrade trbert-deploy"),
        ("0.9", "schema version 0.9", "trbert-deploy export"),
        ("one", "no schema_version", "export"),
        ("²", "no schema_version", "export"),
        ("².0", "no schema_version", "export"),
        ("2.٣", "no schema_version", "export"),
        ("2.0\n", "no schema_version", "export"),
        ("9" * 5000, "no schema_version", "export"),
        ("2", "no schema_version", "export"),
        ("", "no schema_version", "export"),
        (None, "no schema_version", "export"),
        (1, "no schema_version", "export"),
        (..., "no schema_version", "export"),
    ],
)
def test_other_versions(tmp_path, facts, version, words, hint):
    write(tmp_path, changed(facts, "schema_version", version))
    with pytest.raises(BundleError, match=words) as caught:
        open_bundle(tmp_path)
    assert hint in caught.value.hint
    assert len(caught.value.message) < 500


def test_an_unknown_major_is_refused_before_its_contents_are_read(tmp_path):
    write(tmp_path, {"schema_version": "7.0", "everything": "is different"})
    with pytest.raises(BundleError, match=r"schema version 7\.0"):
        open_bundle(tmp_path)


def test_the_version_that_is_written():
    assert SCHEMA_VERSION == "2.0"
