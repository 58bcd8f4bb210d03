"""Which rows of a batch run together, so that a short row does not pay for a long one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trbert_deploy.core.group_limits import GROUP_OVERHEAD_TOKENS, MAX_GROUP_TOKENS


def group_rows(
    counts: npt.NDArray[np.int64],
    *,
    sequences: int = 1,
    overhead_tokens: int | None = None,
    max_rows: int | None = None,
    max_tokens: int = MAX_GROUP_TOKENS,
) -> list[npt.NDArray[np.int64]]:
    """Split rows into groups, each padded to its longest row, at the least total cost.

    The cost of a group is its rows times its longest row plus an overhead. Rows sorted by count are cut
    into consecutive runs, which is where an optimum always lies; dynamic programming finds the best cuts.

    Args:
        counts: int64 [B], tokens of each row.
        sequences: that each row stands for (options in multiple choice).
        overhead_tokens: what one more group costs; by default `GROUP_OVERHEAD_TOKENS`.
        max_rows: no group has more rows.
        max_tokens: nor more tokens, unless a single row has.

    Returns:
        Arrays of row indices, longest rows first; within a group in ascending order of index.
    """
    size = len(counts)
    if size == 1:
        return [np.arange(size)]
    overhead = GROUP_OVERHEAD_TOKENS if overhead_tokens is None else overhead_tokens
    order = np.argsort(-counts, kind="stable")
    longest = counts[order]
    padded = (longest * sequences).astype(float)  # what a row costs in a group that starts with this one
    best = np.zeros(size + 1)  # best[i]: cost of the first i rows of `order`
    before = np.zeros(size)  # before[i]: best[i] less what i rows as long as row i cost
    cut = np.zeros(size + 1, dtype=np.int64)
    first = 0  # of the starts whose group is not too large: those before it stay too large as `end` grows
    for end in range(1, size + 1):
        while first < end - 1 and (
            (end - first) * padded[first] > max_tokens or (max_rows is not None and end - first > max_rows)
        ):
            first += 1
        # rows start..end-1 form the last group, padded to longest[start]
        costs = before[first:end] + end * padded[first:end]
        start = int(np.argmin(costs))
        cut[end] = first + start
        best[end] = costs[start] + overhead
        if end < size:
            before[end] = best[end] - end * padded[end]
    groups = []
    end = size
    while end > 0:
        groups.append(np.sort(order[cut[end] : end]))
        end = int(cut[end])
    return groups[::-1]
