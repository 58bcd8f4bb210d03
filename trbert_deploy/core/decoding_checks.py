"""What each kind of decoding needs to be told; `trbert_deploy.text.decoding` and the C++ library read it unchecked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trbert_deploy.core.specs import Axes, TaskSpec

#: Complains of a value of a parameter.
Check = Callable[[TaskSpec, Any], None]

#: How logits become scores.
ACTIVATIONS = ("softmax", "sigmoid", "identity")


def check_decoding(task: TaskSpec) -> None:
    """See that the parameters of a task's decoding are there and refer to what the model gives.

    A kind that this release does not know is let through: the arrays are of use without it.

    Raises:
        ValueError: a parameter is missing or of no use; the message names it.
    """
    for name, check in KINDS.get(task.decoding.kind, {}).items():
        where = f"decoding: parameter {name} of kind {task.decoding.kind}"
        if name not in task.decoding.parameters:
            raise ValueError(f"{where} is missing")
        try:
            check(task, task.decoding.parameters[name])
        except ValueError as error:
            raise ValueError(f"{where} {error}") from error


def _output(*form: str | int) -> Check:
    """The name of an output of these axes."""

    def check(task: TaskSpec, value: Any) -> None:
        axes = {spec.name: spec.axes for spec in task.outputs}
        if not isinstance(value, str) or value not in axes or not _of_form(axes[value], form):
            raise ValueError(f"must name an output with axes {_shown(form)}")

    return check


def _input(*form: str | int) -> Check:
    """The name of an input of these axes."""

    def check(task: TaskSpec, value: Any) -> None:
        axes = {spec.name: spec.axes for spec in task.own_inputs}
        if not isinstance(value, str) or value not in axes or not _of_form(axes[value], form):
            raise ValueError(f"must name an input with axes {_shown(form)}")

    return check


def _of_form(axes: Axes, form: Axes) -> bool:
    """Whether axes are those, where ``*`` stands for any but ``length``."""
    return len(axes) == len(form) and all(
        axis != "length" if wanted == "*" else axis == wanted for axis, wanted in zip(axes, form, strict=True)
    )


def _shown(form: Axes) -> str:
    return "[" + ", ".join(map(str, form)) + "]"


def _activation(task: TaskSpec, value: Any) -> None:
    if value not in ACTIVATIONS:
        raise ValueError(f"must be one of {', '.join(ACTIVATIONS)}")
    threshold: Any = task.decoding.parameters.get("threshold")
    if value == "sigmoid" and not (type(threshold) in (int, float) and 0 <= threshold <= 1):
        raise ValueError("needs the parameter threshold, in 0 to 1")


def _count(task: TaskSpec, value: Any) -> None:
    if type(value) is not int or not 1 <= value < 2**31:
        raise ValueError("must be an integer of at least 1")


def _types(task: TaskSpec, value: Any) -> None:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) for name in value):
        raise ValueError("must be a list of names")
    logits = task.decoding.parameters.get("type")
    sizes = {spec.name: spec.axes[-1] for spec in task.outputs}
    if not isinstance(logits, str) or sizes.get(logits) != len(value):
        raise ValueError(f"must have a name for each logit of {logits}")


_SPAN: dict[str, Check] = {"start": _output("batch", "length"), "end": _output("batch", "length"), "max_tokens": _count}

#: The parameters of each kind.
KINDS: Mapping[str, Mapping[str, Check]] = {
    "classes": {"output": _output("batch", "*"), "activation": _activation},
    "choices": {"output": _output("batch", "*")},
    "span": _SPAN,
    "span_with_evidence": {
        **_SPAN,
        "type": _output("batch", "*"),
        "types": _types,
        "evidence": _output("batch", "*", 2),
        "evidence_spans": _input("batch", "*", 2),
    },
    "candidates": {"output": _output("batch", "*"), "positions": _input("batch", "*")},
    "tokens": {"output": _output("batch", "length", "*")},
}
