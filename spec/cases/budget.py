"""How many tokens rows keep in budget mode."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

#: Fraction of the original length, lengths, and from which token on each row keeps everything.
_CASES: list[tuple[float, list[int], list[int] | None]] = [
    (1.0, [1, 2, 511, 512], None),
    (0.5, [1, 2, 3, 4, 510, 511, 512], None),
    (0.1, [1, 9, 10, 11, 100, 510], None),  # 0.1 is not exact in binary: 10 keep 1, not 2
    (0.3, [10, 20, 30, 100, 1000], None),
    (0.7, [10, 100, 1000], None),
    (0.4, [5, 60, 128, 129], None),
    (0.15, [5, 60, 100, 128, 4096], None),
    (0.000001, [1, 999999, 1000000, 1000001], None),
    (0.333333, [3, 999999, 1000000], None),
    (0.9999995, [2000000], None),  # counts as 1: a millionth is the least that counts
    (0.4, [10, 10, 10, 10], [1, 3, 9, 10]),  # from the second token on, ..., the last, none
    (0.15, [1, 2, 60], [1, 1, 1]),
    (1.0, [7, 7], [2, 7]),
    (0.5, [8, 9, 10], [5, 5, 6]),  # as many as the budget, one more, one less
]


def vectors() -> dict[str, Any]:
    """Exact ceilings of exact fractions in millionths."""
    return {
        "what": "budget: ceil(fraction * length), the fraction in millionths; counts: what a row has left, where "
        "tokens from protected_from on and the first are kept beyond any budget",
        "cases": [_case(*case) for case in _CASES],
    }


def _case(fraction: float, lengths: list[int], protected_from: list[int] | None) -> dict[str, Any]:
    exact = Fraction(round(fraction * 1_000_000), 1_000_000)
    budget = [math.ceil(exact * length) for length in lengths]
    counts = budget
    if protected_from is not None:
        kept = [{0, *range(start, length)} for start, length in zip(protected_from, lengths, strict=True)]
        counts = [max(many, len(positions)) for many, positions in zip(budget, kept, strict=True)]
    return {
        "fraction": fraction,
        "lengths": lengths,
        "protected_from": protected_from,
        "budget": budget,
        "counts": counts,
    }
