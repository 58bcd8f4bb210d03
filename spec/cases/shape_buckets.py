"""Which shapes TensorRT engines are made for, and what a batch is rounded up to."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from trbert_deploy.runtimes.profiles import choose_profile, stage_profiles
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets, doubling_buckets

_SHAPES = ShapeBuckets(lengths=(64, 128), kept=((32, 128), (16, 128)), rows=8, entries=4)
_NARROW = ShapeBuckets(lengths=(32,), kept=((64,),), rows=1, entries=1)

#: Shapes, stage, whether states are over the whole row, and axes that are the caller's own.
_PROFILES: list[tuple[ShapeBuckets, int, bool, list[str]]] = [
    (_SHAPES, 0, False, []),
    (_SHAPES, 0, False, ["options"]),
    (_SHAPES, 1, False, ["sentences", "candidates"]),
    (_SHAPES, 2, False, []),  # as wide as what the first reduction left
    (_SHAPES, 2, True, []),  # as wide as the row
    (_NARROW, 0, False, []),  # one row alone
    (_NARROW, 1, False, ["shapes"]),  # no more tokens go on than there are
]

#: Of the second of `_PROFILES`: sizes, to choose by.
_SIZES: list[dict[str, int]] = [
    {"batch": 1, "length": 64},
    {"batch": 2, "length": 64},
    {"batch": 1, "length": 65, "unknown": 1000},
    {"batch": 8, "length": 128, "options": 4},
    {"batch": 9, "length": 64},
    {"batch": 1, "length": 64, "options": 5},
    {"batch": 1, "length": 129},
    {"batch": 1, "length": 0},
]


def vectors() -> dict[str, Any]:
    """Roundings by a look along the buckets; profiles as they are made."""
    chosen_from = stage_profiles(_SHAPES, 0, full_length=False, own=["options"])
    return {
        "what": "doubling: buckets where there is no data; rounded: the smallest bucket that holds so many, null where "
        "none does; rows: what a group's rows are rounded up to; profiles: of a stage, the smallest first, axes in "
        "their order; choices: the number of the profile that sizes run in, of the profiles of the second case",
        "doubling": [{"largest": most, "buckets": list(doubling_buckets(most))} for most in (1, 20, 32, 33, 96, 512)],
        "rounded": [_rounded(size, [16, 64, 128]) for size in (1, 15, 16, 17, 64, 65, 128, 129)],
        "rows": [_rows(rows, largest) for rows, largest in [*((rows, 100) for rows in range(1, 25)), (7, 7), (9, 11)]],
        "profiles": [_profiles(*case) for case in _PROFILES],
        "choices": [{"sizes": sizes, "profile": choose_profile(chosen_from, sizes)} for sizes in _SIZES],
    }


def _rounded(size: int, buckets: list[int]) -> dict[str, Any]:
    return {"size": size, "buckets": buckets, "rounded": next((one for one in buckets if one >= size), None)}


def _rows(rows: int, largest: int) -> dict[str, Any]:
    steps = sorted({1, *(2**power for power in range(1, 9)), *(3 * 2**power for power in range(9))})
    return {"rows": rows, "largest": largest, "rounded": min(steps[bisect_left(steps, rows)], largest)}


def _profiles(shapes: ShapeBuckets, stage: int, full_length: bool, own: list[str]) -> dict[str, Any]:
    profiles = stage_profiles(shapes, stage, full_length=full_length, own=own)
    return {
        "shapes": shapes.model_dump(mode="json"),
        "stage": stage,
        "full_length": full_length,
        "own": own,
        "profiles": [profile.model_dump(mode="json")["axes"] for profile in profiles],
    }
