from __future__ import annotations

from dataclasses import dataclass

import pytest

from trbert_deploy.core.options import with_changes


@dataclass(frozen=True)
class Options:
    size: int = 1
    name: str = "a"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("size")


def test_changes_win_and_the_given_object_stays():
    given = Options(size=2)
    assert with_changes(given, {"name": "b"}, "call") == Options(2, "b")
    assert with_changes(given, {}, "call") == given == Options(2, "a")


def test_the_result_is_checked_as_a_whole():
    with pytest.raises(ValueError, match="size"):
        with_changes(Options(), {"size": 0}, "call")


def test_unknown_names_are_a_type_error():
    with pytest.raises(TypeError, match=r"^call\(\) takes no width, depth; it takes size, name$"):
        with_changes(Options(), {"width": 1, "size": 2, "depth": 3}, "call")
