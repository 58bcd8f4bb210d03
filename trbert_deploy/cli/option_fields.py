"""A field of an options dataclass as an option of the command line: its flag, how it is read, and what help says."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from rich.markup import escape

from trbert_deploy.core.attributes import attribute_docs
from trbert_deploy.core.flags import Flag, flag_of

_FIRST_SENTENCE = re.compile(r"(.+?[.?!])(?=\s+[A-Z`\"]|$)", re.DOTALL)


@dataclass(frozen=True)
class Choices:
    """The values of an option that depend on what is installed.

    Attributes:
        values: in order.
        help: what each of them is.
    """

    values: Sequence[str]
    help: str


@dataclass(frozen=True)
class OptionField:
    """A field of an options dataclass as an option.

    Attributes:
        field: of the dataclass.
        kind: its type, without None; of a tuple the type of its members.
        several: whether it is a tuple.
        optional: whether it may be None.
        doc: of the field.
        choices: see `Choices`.
    """

    field: Field[Any]
    kind: Any
    several: bool
    optional: bool
    doc: str
    choices: Choices | None

    @property
    def flag(self) -> Flag:
        """What the field's metadata say."""
        return flag_of(self.field)

    def parameter(self) -> inspect.Parameter:
        """For Typer."""
        said = self.flag
        default: Any = self.field.default
        if self.several:  # as it would be typed; None, where there is none, leaves it out of help
            default = [",".join(map(str, default))] if default else None
        info = typer.Option(
            *self._names(),
            help=self._help(),
            min=None if self.several else said.minimum,
            max=None if self.several else said.maximum,
            metavar=said.metavar or ("X,Y,..." if self.several else None),
            show_default=said.default or not self.optional,
            hidden=said.hidden,
        )
        kind: Any = list[str] if self.several else self.kind
        if self.choices is not None and not self.several:
            kind = Literal[tuple(self.choices.values)]
        if self.optional or self.several:
            kind = kind | None
        return inspect.Parameter(
            self.field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, info],
        )

    def value(self, given: Any) -> Any:
        """The field's value.

        Raises:
            typer.BadParameter: a member of a list is none.
        """
        if not self.several:
            return given
        if not given:
            return self.field.default
        return tuple(self._member(one.strip(), text) for text in given for one in text.split(","))

    def _names(self) -> tuple[str, ...]:
        names = self.flag.names
        if self.kind is bool and (self.optional or self.field.default):
            return (f"{names[0]}/{names[0].replace('--', '--no-', 1)}",)
        return names

    def _help(self) -> str:
        text = self.flag.help or first_sentence(self.doc)
        if self.choices is not None:
            text = f"{text} {self.choices.help}".strip()
        return escape(text)

    def _member(self, one: str, text: str) -> Any:
        """A member of the list `text`."""
        name, said = self.flag.names[0], self.flag
        allowed = self.choices.values if self.choices is not None else get_args(self.kind)
        if allowed:
            if one not in allowed:
                raise typer.BadParameter(f"{name} takes {', '.join(allowed)}, not {one!r}")
            return one
        try:
            member = self.kind(one)
        except ValueError:
            raise typer.BadParameter(f"{name}: {text!r} is not a list of numbers with commas between them") from None
        if said.minimum is not None and not member >= said.minimum:
            raise typer.BadParameter(f"{name} takes numbers from {said.minimum:g} on, not {one!r}")
        return member


def option_fields(owner: type, choices: Mapping[str, Choices]) -> list[OptionField]:
    """The fields of an options dataclass.

    Args:
        owner: the dataclass.
        choices: of fields that it declares as text, by name.
    """
    hints, docs = get_type_hints(owner), attribute_docs(owner)
    fields = dataclasses.fields(owner)
    made = []
    for field in fields:
        kind, optional = hints[field.name], False
        if get_origin(kind) in (Union, UnionType):
            optional = NoneType in get_args(kind)
            kinds = [one for one in get_args(kind) if one is not NoneType]
            kind = str if str in kinds else kinds[0]  # beside text there may be names for editors to offer
        several = get_origin(kind) is tuple
        kind = get_args(kind)[0] if several else kind
        doc = docs[field.name]
        for other in fields:  # a docstring names attributes, help names flags
            doc = doc.replace(f"`{other.name}`", flag_of(other).names[0])
        made.append(OptionField(field, kind, several, optional, doc, choices.get(field.name) if kind is str else None))
    return made


def first_sentence(doc: str) -> str:
    """The first sentence of a field's docstring, for a terminal: a capital, no marks of reStructuredText."""
    found = _FIRST_SENTENCE.match(doc)
    text = (found[1] if found else doc).replace('``"', "").replace('"``', "").replace("``", "")
    return text[:1].upper() + text[1:]
