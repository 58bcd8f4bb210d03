"""Golden vectors: inputs with the PyTorch reference's answers, which a deployed engine replays to prove itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from trbert_deploy.core.errors import BundleError, first_line
from trbert_deploy.core.output import EngineOutput
from trbert_deploy.core.specs import TaskSpec


class GoldenBatch(BaseModel):
    """One batch with the reference's answer."""

    inputs: dict[str, Any] = Field(description="nested lists of integers, as Engine.run takes them")
    kept: list[list[list[int]]] = Field(description="[reduction][row] -> kept positions, ascending")
    outputs: dict[str, Any] = Field(description="nested lists of float32 numbers")


class Golden(BaseModel):
    """golden.json."""

    schema_version: str = "1.1"
    tolerance: float = Field(description="largest difference of an output that passes, of the bundle's precision")
    max_flips: float = Field(
        default=0.0, description="largest share of the tokens at reductions that one may keep and the other drop"
    )
    batches: list[GoldenBatch] = Field(min_length=1)


def read_golden(path: Path) -> Golden:
    """Read golden vectors.

    Raises:
        BundleError: the file does not hold any.
    """
    try:
        return Golden.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path} holds no golden vectors: {first_line(error)}", "export the bundle again") from error


def write_golden(golden: Golden, path: Path) -> None:
    """Write golden vectors as JSON."""
    path.write_text(json.dumps(golden.model_dump(), separators=(",", ":")) + "\n", encoding="utf-8")


def largest_difference(given: npt.NDArray[np.generic], wanted: npt.NDArray[np.generic]) -> float:
    """The largest difference of two arrays of one shape, relative to the wanted value where that exceeds 1."""
    exact = wanted.astype(np.float64)
    distance = np.abs(given.astype(np.float64) - exact) / np.maximum(1.0, np.abs(exact))
    return float(distance.max(initial=0.0))


@dataclass(frozen=True)
class Comparison:
    """An answer held against a golden batch.

    Attributes:
        complaints: how it differs from the reference's; empty where it does not.
        flipped: tokens at reductions that one keeps and the other drops.
        reached: tokens that reach the reductions.
    """

    complaints: list[str]
    flipped: int
    reached: int


def compare(task: TaskSpec, batch: GoldenBatch, answer: EngineOutput, golden: Golden) -> Comparison:
    """Say how an answer differs from the reference's.

    Where the precision allows flips, they are counted and not complained about, and the outputs of rows with flips are
    not compared.

    Args:
        task: the model's task.
        batch: the golden batch.
        answer: what an engine gave for its inputs, with selection.
        golden: what the batch is from, for its tolerances.
    """
    complaints = []
    flipped = reached = 0
    same = np.ones(len(batch.inputs["input_ids"]), dtype=bool)
    before = _lengths(batch)
    assert answer.selection is not None
    for reduction, (wanted, given) in enumerate(zip(batch.kept, answer.selection, strict=True), start=1):
        for row, (wanted_row, given_row) in enumerate(zip(wanted, given, strict=True)):
            changed = sorted(set(wanted_row) ^ set(given_row.tolist()))
            flipped += len(changed)
            reached += before[row]
            if changed and golden.max_flips:
                same[row] = False
            elif changed:
                complaints.append(f"reduction {reduction}, row {row}: kept positions differ at {changed}")
        before = [len(row) for row in wanted]
    for output in task.outputs:
        wanted_array: npt.NDArray[np.float32] = np.array(batch.outputs[output.name], dtype=np.float32)
        given_array = answer[output.name]
        if given_array.shape != wanted_array.shape:
            complaints.append(f"{output.name} is of shape {list(given_array.shape)}, not {list(wanted_array.shape)}")
            continue
        worst = largest_difference(given_array[same], wanted_array[same])
        if not worst <= golden.tolerance:  # also where it is not a number
            complaints.append(f"{output.name} differs by {worst:.3g}, more than {golden.tolerance:g}")
    return Comparison(complaints, flipped, reached)


def _lengths(batch: GoldenBatch) -> list[int]:
    """Real tokens of each row (in multiple choice: of its longest option)."""
    lengths: npt.NDArray[np.int64] = np.asarray(batch.inputs["attention_mask"]).sum(-1)
    return [int(length) for length in (lengths.max(-1) if lengths.ndim == 2 else lengths)]
