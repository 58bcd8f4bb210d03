"""Golden vectors: inputs with the PyTorch reference's answers, which a deployed engine replays to prove itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from trbert_deploy.bundle.precision import TOLERANCES
from trbert_deploy.bundle.reader import EXPORT_AGAIN, Bundle, describe
from trbert_deploy.core import strict_json
from trbert_deploy.core.errors import BundleError, InputError
from trbert_deploy.core.output import EngineOutput
from trbert_deploy.core.request import check_request
from trbert_deploy.core.selection import check_kept
from trbert_deploy.core.specs import Axes, TaskSpec

#: Larger files of golden vectors are not read.
MOST_BYTES = 256 * 2**20


class GoldenBatch(BaseModel):
    """One batch with the reference's answer."""

    inputs: dict[str, Any] = Field(description="nested lists of integers, as Engine.run takes them")
    kept: list[list[list[int]]] = Field(description="[reduction][row] -> kept positions, ascending")
    outputs: dict[str, Any] = Field(description="nested lists of float32 numbers")


class Golden(BaseModel):
    """golden.json."""

    schema_version: str = Field(default="1.1", pattern=r"^1\.[0-9]{1,6}$")
    tolerance: float = Field(
        ge=0, description="largest difference of an output that passes, no more than the bundle's precision allows"
    )
    max_flips: float = Field(
        default=0.0,
        ge=0,
        description="largest share of the tokens at reductions that one may keep and the other drop; likewise",
    )
    batches: list[GoldenBatch] = Field(min_length=1)


def read_golden(bundle: Bundle) -> Golden:
    """Read a bundle's golden vectors, which fit its model.

    Raises:
        BundleError: the file does not hold any, or they would prove nothing; the message names the field.
    """
    path = bundle.path(bundle.manifest.golden)
    try:
        raw = strict_json.read(path, most_bytes=MOST_BYTES)
        golden = Golden.model_validate_json(json.dumps(raw), strict=True)
        _check(golden, bundle)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}", EXPORT_AGAIN) from error
    except ValidationError as error:
        raise BundleError(f"{path} holds no golden vectors: {describe(error)}", EXPORT_AGAIN) from error
    except ValueError as error:
        raise BundleError(f"{path} holds no golden vectors: {error}", EXPORT_AGAIN) from error
    return golden


def write_golden(golden: Golden, path: Path) -> None:
    """Write golden vectors as JSON.

    Raises:
        ValueError: a number of them is not finite.
    """
    path.write_text(strict_json.dumps(golden.model_dump(), separators=(",", ":")) + "\n", encoding="utf-8")


def _check(golden: Golden, bundle: Bundle) -> None:
    """See that golden vectors can be replayed on a bundle, and mean something.

    Raises:
        ValueError: they cannot.
    """
    manifest = bundle.manifest
    most = TOLERANCES[manifest.precision]
    for field, given, allowed in (
        ("tolerance", golden.tolerance, most.outputs),
        ("max_flips", golden.max_flips, most.flips),
    ):
        if given > allowed:
            raise ValueError(f"{field} is {given:g}, more than the {allowed:g} that {manifest.precision} allows")
    for place, batch in enumerate(golden.batches):
        try:
            request = check_request(manifest.task, batch.inputs)
            kept = [[np.array(row) for row in rows] for rows in batch.kept]
            check_kept(kept, request.lengths, len(manifest.reduction.layers))
        except InputError as error:
            raise ValueError(f"batches.{place}: {error.message}") from error
        for output in manifest.task.outputs:
            shape = {0: len(request), **({1: request.width} if output.per_token else {})}
            _check_output(f"batches.{place}.outputs.{output.name}", batch.outputs.get(output.name), output.axes, shape)


def _check_output(field: str, value: object, axes: Axes, shape: Mapping[int, int]) -> None:
    """See that a value is a rectangular array of finite numbers, one for each place.

    Args:
        field: where it stands.
        value: nested lists; None where it is missing.
        axes: of the output.
        shape: the sizes that are known, by the number of the axis.

    Raises:
        ValueError: it is not.
    """
    if value is None:
        raise ValueError(f"{field} is missing")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{field} is not a rectangular array") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{field} must hold numbers, not {array.dtype}")
    sizes = {place: axis for place, axis in enumerate(axes) if isinstance(axis, int)} | dict(shape)
    if array.ndim != len(axes) or any(array.shape[place] != size for place, size in sizes.items()):
        raise ValueError(f"{field} is of shape {list(array.shape)}, which does not fit its inputs")
    if (np.abs(array) > np.finfo(np.float32).max).any():
        raise ValueError(f"{field} holds a number that float32 cannot")


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
