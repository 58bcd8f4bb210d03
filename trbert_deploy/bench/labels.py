"""Right answers: which models they are counted for, and how a row of data gives one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trbert_deploy.bundle import Manifest
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.text.json_lines import Line

_OTHER_CLASSES = {"sigmoid": "with several labels a row", "identity": "with bare scores"}


def chooses_a_class(task: TaskSpec) -> bool:
    """Whether a row's prediction is one class of several, which accuracy can be counted of."""
    return task.decoding.kind == "classes" and task.decoding.parameters["activation"] == "softmax"


def no_class(task: TaskSpec) -> str:
    """Why accuracy is not counted for a task, and which labels would be."""
    form = _OTHER_CLASSES.get(task.decoding.parameters.get("activation", ""), "")
    return (
        "accuracy is counted for models that choose one class a row, by labels that are a class name or its index, "
        f"not for {task.name} {form}".rstrip()
    )


def read_labels(manifest: Manifest, lines: Iterable[Line]) -> list[int | None]:
    """Index of the right class of each line, None where it has no label; nothing where the model chooses no class.

    Raises:
        InputError: a label is none of the model's; the message names the line.
    """
    if not chooses_a_class(manifest.task):
        return []
    return [_label(line.get("label"), manifest.model.labels, line.source) for line in lines]


def _label(label: object, names: Sequence[str], where: str) -> int | None:
    if label is None:
        return None
    if isinstance(label, str) and label in names:
        return names.index(label)
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(names):
        return label
    raise InputError(
        f"{where}: label {label!r} is none of the model's",
        f"a label is a class name, one of {', '.join(names)}, or its index from 0",
    )
