from __future__ import annotations

from collections.abc import Iterator

import pytest
from forks import Forks
from writing_verbs import Verb, writing_verbs


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks() as started:
        yield started


@pytest.fixture(scope="session")
def verbs(forks, toy_run, tmp_path_factory) -> dict[str, Verb]:
    return writing_verbs(forks, toy_run, tmp_path_factory.mktemp("given"))
