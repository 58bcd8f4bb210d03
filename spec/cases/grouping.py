"""Which rows run together."""

from __future__ import annotations

from typing import Any

import numpy as np

from trbert_deploy.core.grouping import GROUP_OVERHEAD_TOKENS, MAX_GROUP_TOKENS, group_rows

#: Counts, sequences that a row stands for, what one more group costs, most rows of a group.
_CASES: list[tuple[list[int], int, int, int | None]] = [
    ([7], 1, GROUP_OVERHEAD_TOKENS, None),
    ([1], 1, GROUP_OVERHEAD_TOKENS, 1),
    ([500, 1, 500, 2], 1, GROUP_OVERHEAD_TOKENS, None),
    ([5, 5], 1, GROUP_OVERHEAD_TOKENS, 1),
    ([3, 3, 3, 3, 3], 1, 0, None),  # splitting costs nothing, and brings nothing
    ([65, 1], 1, 64, None),  # together 130, apart 66 + 64: of equals the one group
    ([66, 1], 1, 64, None),
    ([64, 1, 64, 1], 1, 63, None),
    ([12] * 70, 1, 1024, 32),
    ([500, 1], 1, 1024, 32),
    ([512] * 33, 1, GROUP_OVERHEAD_TOKENS, None),  # 32 of them are the most tokens of a group, exactly
    ([MAX_GROUP_TOKENS + 1, MAX_GROUP_TOKENS + 1, 1], 1, GROUP_OVERHEAD_TOKENS, None),  # a single row may be larger
    ([512, 512, 512], 20, GROUP_OVERHEAD_TOKENS, None),
    ([128, 120, 40, 38, 9, 128], 4, GROUP_OVERHEAD_TOKENS, None),
    ([10, 20, 30, 40, 50, 60, 70, 80], 1, GROUP_OVERHEAD_TOKENS, 3),
    ([1, 200, 2, 190, 3, 180], 1, 16, None),
    ([32768, 16384, 8192, 4096, 2048], 2, GROUP_OVERHEAD_TOKENS, None),
]


def vectors() -> dict[str, Any]:
    """Cases of fixed counts, and some that are drawn."""
    rng = np.random.default_rng(2021)
    drawn = [(rng.integers(1, 512, size).tolist(), 1, 64, None) for size in (2, 3, 9, 24)]
    drawn += [(rng.integers(1, 96, 16).tolist(), 4, 1024, 8)]
    return {
        "what": "groups of row numbers: longest rows first, ascending within a group, at the least total cost",
        "cases": [_case(*case) for case in [*_CASES, *drawn]],
    }


def _case(counts: list[int], sequences: int, overhead: int, max_rows: int | None) -> dict[str, Any]:
    groups = group_rows(np.array(counts), sequences=sequences, overhead_tokens=overhead, max_rows=max_rows)
    return {
        "counts": counts,
        "sequences": sequences,
        "overhead_tokens": overhead,
        "max_rows": max_rows,
        "groups": [group.tolist() for group in groups],
    }
