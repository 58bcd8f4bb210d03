"""A verb's function with options dataclasses becomes a function with a parameter for each option, as Typer reads it.

An option is declared once, as a field: its name gives the flag, its type how it is read, its default the default, the
first sentence of its docstring the help, and `trbert_deploy.core.flags` what these cannot say.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

import typer

from trbert_deploy.cli.option_fields import Choices, OptionField, option_fields
from trbert_deploy.core.errors import OptionError


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
    options: dict[str, tuple[type, list[OptionField]]] = {}
    for parameter in signature.parameters.values():
        owner, wanted = _options_class(parameter.annotation)
        if owner is None:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        own = [one for one in option_fields(owner, choices) if wanted is None or one.field.name in wanted]
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


def _options_class(annotation: Any) -> tuple[type | None, tuple[str, ...] | None]:
    """The dataclass of a verb's parameter, None where it is Typer's own; and which of its fields, None for all."""
    wanted = None
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        wanted = next((note.names for note in notes if isinstance(note, Only)), None)
    return (annotation if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) else None), wanted
