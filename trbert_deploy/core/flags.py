"""How the fields of an options dataclass are given on a command line, where name, type and docstring do not say it."""

from __future__ import annotations

from dataclasses import Field, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from trbert_deploy.core.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_KEY = "flag"


@dataclass(frozen=True)
class Flag:
    """One option.

    Attributes:
        names: instead of the field's own, the first of them first, such as ``"--batch-size"``.
        minimum: the smallest number; of several numbers each.
        maximum: the largest number.
        metavar: what stands for the value in help.
        help: instead of the docstring's first sentence.
        default: what help says of the default where the value itself, such as None, says nothing.
        hidden: whether help leaves it out.
    """

    names: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    metavar: str | None = None
    help: str | None = None
    default: str | None = None
    hidden: bool = False


def flag(*names: str, **facts: Any) -> dict[str, Flag]:
    """Metadata of a field: ``field(default=20, metadata=flag("--rounds", minimum=1))``; see `Flag`."""
    return {_KEY: Flag(names, **facts)}


def flag_of(field: Field[Any]) -> Flag:
    """What the field's metadata say, its names filled in."""
    said: Flag = field.metadata.get(_KEY, Flag())
    return said if said.names else replace(said, names=(f"--{field.name.replace('_', '-')}",))


def require_in_range(options: DataclassInstance) -> None:
    """See that numbers lie where the flags say, for callers that do not come by a command line.

    Raises:
        InputError: one does not.
    """
    for field in fields(options):
        value, said = getattr(options, field.name), flag_of(field)
        for number in value if isinstance(value, tuple) else (value,):
            if said.minimum is not None and number is not None and not number >= said.minimum:
                raise InputError(f"{field.name} must be at least {said.minimum:g}, not {number}")
            if said.maximum is not None and number is not None and not number <= said.maximum:
                raise InputError(f"{field.name} must be at most {said.maximum:g}, not {number}")
