"""Golden vectors: inputs with the PyTorch reference's answers, which a deployed engine replays to prove itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from trbert_deploy.errors import BundleError
from trbert_deploy.tasks import Task

if TYPE_CHECKING:
    from trbert_deploy.engine import EngineOutput

#: Largest difference of an output from the reference's that passes: absolute up to 1, relative beyond.
TOLERANCE = 1e-4


class GoldenBatch(BaseModel):
    """One batch with the reference's answer."""

    inputs: dict[str, Any] = Field(description="nested lists of integers, as Engine.run takes them")
    kept: list[list[list[int]]] = Field(description="[reduction][row] -> kept positions, ascending")
    outputs: dict[str, Any] = Field(description="nested lists of float32 numbers")


class Golden(BaseModel):
    """golden.json."""

    schema_version: str = "1.0"
    tolerance: float = TOLERANCE
    batches: list[GoldenBatch] = Field(min_length=1)


def read_golden(path: Path) -> Golden:
    """Read golden vectors.

    Raises:
        BundleError: the file does not hold any.
    """
    try:
        return Golden.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(
            f"{path} holds no golden vectors: {str(error).partition(chr(10))[0]}", "export the bundle again"
        ) from error


def write_golden(golden: Golden, path: Path) -> None:
    """Write golden vectors as JSON."""
    path.write_text(json.dumps(golden.model_dump(), separators=(",", ":")) + "\n", encoding="utf-8")


def largest_difference(given: npt.NDArray[np.generic], wanted: npt.NDArray[np.generic]) -> float:
    """The largest difference of two arrays of one shape, relative to the wanted value where that exceeds 1."""
    exact = wanted.astype(np.float64)
    distance = np.abs(given.astype(np.float64) - exact) / np.maximum(1.0, np.abs(exact))
    return float(distance.max(initial=0.0))


def compare(task: Task, batch: GoldenBatch, answer: EngineOutput, tolerance: float) -> list[str]:
    """Say how an answer differs from the reference's; nothing where it does not.

    Args:
        task: the model's task.
        batch: the golden batch.
        answer: what an engine gave for its inputs, with selection.
        tolerance: largest difference of an output that passes.
    """
    complaints = []
    assert answer.selection is not None
    for reduction, (wanted, given) in enumerate(zip(batch.kept, answer.selection, strict=True), start=1):
        for row, (wanted_row, given_row) in enumerate(zip(wanted, given, strict=True)):
            if wanted_row != given_row.tolist():
                changed = sorted(set(wanted_row) ^ set(given_row.tolist()))
                complaints.append(f"reduction {reduction}, row {row}: kept positions differ at {changed}")
    for output in task.outputs:
        wanted_array: npt.NDArray[np.float32] = np.array(batch.outputs[output.name], dtype=np.float32)
        given_array = answer[output.name]
        if given_array.shape != wanted_array.shape:
            complaints.append(
                f"{output.name} is of shape {list(given_array.shape)}, not {list(wanted_array.shape)}"
            )
            continue
        worst = largest_difference(given_array, wanted_array)
        if not worst <= tolerance:  # also where it is not a number
            complaints.append(f"{output.name} differs by {worst:.3g}, more than {tolerance:g}")
    return complaints
