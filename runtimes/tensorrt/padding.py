"""A group of rows as a stage's engine takes it: sizes rounded up to buckets, what is added masked or thrown away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trbert_deploy.core.specs import Axes
from trbert_deploy.runtimes.base import Array
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets, round_up, round_up_rows
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineError


class Shaped(Protocol):
    """A tensor on the device."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As it was rounded up."""
        ...


@dataclass(frozen=True)
class Padded:
    """One call of a stage.

    Attributes:
        sizes: of each axis of its inputs, by name, rounded up.
        arrays: what the host gives, padded.
        rows: how many of the batch's rows are real.
        width: how many of a row's tokens are, where the host gives any array over them, else None.
    """

    sizes: dict[str, int]
    arrays: dict[str, Array]
    rows: int
    width: int | None

    def shape(self, axes: Axes) -> tuple[int, ...]:
        """The shape of an input."""
        return tuple(self.sizes[axis] if isinstance(axis, str) else axis for axis in axes)


def pad(
    inputs: Mapping[str, Axes],
    feeds: Mapping[str, Shaped | Array],
    shapes: ShapeBuckets,
    stage: int,
    padding: Mapping[str, int],
) -> Padded:
    """Round a stage's feeds up.

    A row that is added repeats the last one: it is computed like any other, and nobody looks at it. A token that is
    added is masked (stage 0) or gathered from behind the kept ones and masked there (later stages).

    Args:
        inputs: axes of the engine's inputs.
        feeds: host arrays, as wide as their rows; tensors of the stage before, as wide as that was rounded up to.
        shapes: what to round up to.
        stage: which stage.
        padding: what stands at added tokens, by input; 0 where it says nothing.

    Raises:
        EngineError: there are more tokens than the largest bucket.
    """
    given = {name: feeds[name] for name in inputs}
    host = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
    rows = len(host["rows"] if "rows" in host else host["attention_mask"])
    # What is on the device is padded already, so it decides how long a row is.
    sizes: dict[str, int] = {}
    for name in sorted(given, key=lambda name: name in host):
        for axis, size in zip(inputs[name], given[name].shape, strict=True):
            if isinstance(axis, str):
                sizes.setdefault(axis, size)
    sizes["batch"] = round_up_rows(rows, shapes.rows)
    if stage == 0:
        sizes["length"] = _bucket(sizes["length"], shapes, stage)
    else:
        # Stages take the whole buffer of the one before, so that its rows in use make no difference to their shapes.
        sizes["batch_before"] = shapes.rows
        sizes["kept"] = min(_bucket(sizes["kept"], shapes, stage), sizes["length"])
    arrays = {name: _padded(name, value, inputs[name], sizes, padding.get(name, 0)) for name, value in host.items()}
    width = host["attention_mask"].shape[-1] if "attention_mask" in host else None  # stage 0 always has it
    return Padded(sizes, arrays, rows, width)


def _bucket(tokens: int, shapes: ShapeBuckets, stage: int) -> int:
    bucket = round_up(tokens, shapes.tokens(stage))
    if bucket is None:
        what = "rows" if stage == 0 else f"what reduction {stage} keeps"
        raise EngineError(
            f"the engines were built for {what} of at most {shapes.tokens(stage)[-1]} tokens, this batch has {tokens}",
            "build them again, with a larger last bucket or without --buckets: trbert-deploy build BUNDLE",
        )
    return bucket


def _padded(name: str, array: Array, axes: Axes, sizes: Mapping[str, int], fill: int) -> Array:
    if name == "keep":  # only its shape is read
        return np.zeros(sizes["kept"], dtype=array.dtype)
    for place, axis in enumerate(axes):
        missing = sizes[axis] - array.shape[place] if isinstance(axis, str) else 0
        if missing and axis == "batch":
            array = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
        elif missing:
            ends = [(0, missing if other == place else 0) for other in range(array.ndim)]
            array = np.pad(array, ends, constant_values=fill)
    return np.ascontiguousarray(array)
