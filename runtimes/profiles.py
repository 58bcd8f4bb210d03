"""Optimization profiles: the ranges of shapes that a TensorRT engine is built for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets, round_up

#: Smallest, best and largest size of an axis.
Range = tuple[int, int, int]

#: Axes that stages know; whatever else an input has is the caller's own.
_KNOWN_AXES = ("batch", "batch_before", "length", "kept")


class Profile(BaseModel):
    """One optimization profile: a range for each of the axes that vary, by their names in the graph."""

    model_config = ConfigDict(frozen=True)

    axes: dict[str, Range]

    def fits(self, sizes: Mapping[str, int]) -> bool:
        """Whether all sizes lie in their ranges; axes that the profile does not have are not looked at."""
        return all(
            self.axes[name][0] <= size <= self.axes[name][2] for name, size in sizes.items() if name in self.axes
        )

    def shape(self, axes: Sequence[str | int], which: int) -> tuple[int, ...]:
        """The smallest (0), best (1) or largest (2) shape of an input with these axes."""
        return tuple(self.axes[axis][which] if isinstance(axis, str) else axis for axis in axes)


def own_axes(task: TaskSpec) -> tuple[str, ...]:
    """The axes of a task's inputs whose size is the caller's; they are not padded, for the answer's shape is theirs."""
    names = (axis for spec in task.inputs for axis in spec.axes if isinstance(axis, str))
    return tuple(dict.fromkeys(name for name in names if name not in _KNOWN_AXES))


def stage_profiles(shapes: ShapeBuckets, stage: int, *, full_length: bool, own: Sequence[str] = ()) -> list[Profile]:
    """Profiles of a stage's engine, the smallest first: for each number of tokens, one row and many.

    Args:
        shapes: the bundle's.
        stage: which stage; 0 also for the dense and the fused graph.
        full_length: whether states between stages have all of a row's tokens.
        own: see `own_axes`.
    """
    profiles = []
    before = shapes.lengths if full_length or stage == 1 else shapes.tokens(max(0, stage - 1))
    for tokens in shapes.tokens(stage):
        for least, rows in _row_ranges(shapes.rows):
            axes: dict[str, Range] = {"batch": (least, rows, rows)}
            axes |= dict.fromkeys(own, (1, shapes.entries, shapes.entries))
            if stage == 0:
                axes["length"] = (1, tokens, tokens)
            else:
                width = round_up(tokens, before) or before[-1]
                kept = min(tokens, before[-1])
                axes["kept"] = (1, kept, kept)
                axes["length"] = (1, width, before[-1])
                # Stages are given the whole buffer of the one before, however many of its rows are in use.
                axes["batch_before"] = (shapes.rows, shapes.rows, shapes.rows)
            profiles.append(Profile(axes=axes))
    return profiles


def _row_ranges(rows: int) -> list[tuple[int, int]]:
    return [(1, 1)] if rows == 1 else [(1, 1), (2, rows)]


def choose_profile(profiles: Sequence[Profile], sizes: Mapping[str, int]) -> int | None:
    """The number of the smallest profile that holds these sizes; None where none does."""
    return next((number for number, profile in enumerate(profiles) if profile.fits(sizes)), None)
