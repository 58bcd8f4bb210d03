"""A whole bundle, of either version of the schema."""

from __future__ import annotations

import pytest
from manifests import schema_1, schema_2, write


@pytest.fixture(params=[schema_1, schema_2], ids=["1.1", "2.0"])
def facts(request):
    return request.param()


@pytest.fixture
def folder(tmp_path, facts):
    return write(tmp_path, facts)
