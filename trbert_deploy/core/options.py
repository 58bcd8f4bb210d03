"""Options that a call takes as one object, as keyword arguments, or as an object with some of them changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


def with_changes(given: Options, changes: Mapping[str, Any], call: str) -> Options:
    """The options with some changed.

    Args:
        given: an instance of a dataclass of options.
        changes: new values by attribute.
        call: whose keyword arguments they are, for the message.

    Raises:
        TypeError: there is no such attribute.
    """
    known = [field.name for field in fields(given)]
    if unknown := [name for name in changes if name not in known]:
        raise TypeError(f"{call}() takes no {', '.join(unknown)}; it takes {', '.join(known)}")
    return replace(given, **changes)


def config_of(options: DataclassInstance) -> dict[str, Any]:
    """The options as a report's ``config``: by attribute, ready for JSON."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
