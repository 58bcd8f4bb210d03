"""A verb's function with options dataclasses becomes a function with a parameter for each option, as Typer reads it.

An option is declared once, as a field: its name gives the flag, its type how it is read, its default the default, the
first sentence of its docstring the help, and `trbert_deploy.core.flags` what these cannot say.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from rich.markup import escape

from trbert_deploy.core.attributes import attribute_docs
from trbert_deploy.core.errors import OptionError
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


@dataclass(frozen=True, init=False)
class Only:
    """Stands beside a dataclass in ``Annotated``: the verb has options for these fields alone, others keep defaults.

    Attributes:
        names: of the fields.
    """

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


def command(verb: Callable[..., None], choices: Mapping[str, Choices]) -> Callable[..., None]:
    """Make a verb of Typer's.

    Args:
        verb: whose parameters are Typer's own, or annotated with an options dataclass.
        choices: of options that the dataclasses declare as text, by the field's name.
    """
    signature = inspect.signature(verb, eval_str=True)
    parameters: list[inspect.Parameter] = []
    options: dict[str, tuple[type, list[_Option]]] = {}
    for parameter in signature.parameters.values():
        owner, wanted = _options_class(parameter.annotation)
        if owner is None:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        own = [one for one in _options(owner, choices) if wanted is None or one.field.name in wanted]
        parameters += [one.parameter() for one in own]
        options[parameter.name] = owner, own

    @functools.wraps(verb)
    def run(**given: Any) -> None:
        for name, (owner, own) in options.items():
            values = {one.field.name: one.value(given.pop(one.field.name)) for one in own}
            try:
                given[name] = owner(**values)
            except OptionError as error:
                raise typer.BadParameter(str(error)) from error
        verb(**given)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@dataclass(frozen=True)
class _Option:
    """A field as an option.

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


def first_sentence(doc: str) -> str:
    """The first sentence of a field's docstring, for a terminal: a capital, no marks of reStructuredText."""
    found = _FIRST_SENTENCE.match(doc)
    text = (found[1] if found else doc).replace('``"', "").replace('"``', "").replace("``", "")
    return text[:1].upper() + text[1:]


def _options_class(annotation: Any) -> tuple[type | None, tuple[str, ...] | None]:
    """The dataclass of a verb's parameter, None where it is Typer's own; and which of its fields, None for all."""
    wanted = None
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        wanted = next((note.names for note in notes if isinstance(note, Only)), None)
    return (annotation if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) else None), wanted


def _options(owner: type, choices: Mapping[str, Choices]) -> list[_Option]:
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
        made.append(_Option(field, kind, several, optional, doc, choices.get(field.name) if kind is str else None))
    return made
