from __future__ import annotations

import dataclasses

import pytest

from trbert_deploy.core import costs, specs
from trbert_deploy.core.attributes import attribute_docs


class Base:
    """A base.

    Attributes:
        size: of the base.
        name: of the base alone.
    """


class Derived(Base):
    """More.

    Attributes:
        size: how large: in tokens,
            over two lines.
        other: ``"a"``, or
            ``"b"``
            or none.

    Raises:
        ValueError: it is none.
    """


class Silent(Derived):
    """Says nothing of its attributes: see above."""


def test_lines_are_joined_and_sections_end():
    assert attribute_docs(Derived) == {
        "size": "how large: in tokens, over two lines.",
        "name": "of the base alone.",
        "other": '``"a"``, or ``"b"`` or none.',
    }


def test_a_class_has_what_its_bases_say():
    assert attribute_docs(Silent) == attribute_docs(Derived)
    assert attribute_docs(Base) == {"size": "of the base.", "name": "of the base alone."}
    assert attribute_docs(object) == {}


@pytest.mark.parametrize(
    "owner",
    [
        part
        for module in (specs, costs)
        for part in vars(module).values()
        if dataclasses.is_dataclass(part) and part.__module__ == module.__name__
    ],
)
def test_every_attribute_of_a_specification_is_described(owner):
    assert list(attribute_docs(owner)) == [field.name for field in dataclasses.fields(owner)]
