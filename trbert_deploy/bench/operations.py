"""Floating-point operations of rows that were run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trbert_deploy.bench.quality import Flops
from trbert_deploy.bench.workload import Dataset
from trbert_deploy.core.costs import Costs, RowTokens, exact_flops, upstream_flops
from trbert_deploy.core.selection import Kept


def flops_of(costs: Costs, dataset: Dataset, rows: npt.NDArray[np.int64], kept: Kept) -> Flops:
    """Operations of some rows.

    Args:
        costs: of the model.
        dataset: where the rows come from.
        rows: int64, numbers of the rows.
        kept: [reduction][row of `rows`], kept positions.
    """
    lengths = dataset.lengths[rows]
    counts = [[len(positions) for positions in reduction] for reduction in kept]
    reduced = [
        RowTokens(int(length), tuple(count[place] for count in counts), dataset.sequences, dataset.entries)
        for place, length in enumerate(lengths)
    ]
    dense = [row.dense for row in reduced]
    (upstream, upstream_dense), (exact, exact_dense) = (
        [sum(count(costs, row) for row in some) / len(some) / 1e6 for some in (reduced, dense)]
        for count in (upstream_flops, exact_flops)
    )
    return Flops(
        upstream_mflops=upstream,
        upstream_dense_mflops=upstream_dense,
        upstream_ratio=upstream_dense / upstream,
        exact_mflops=exact,
        exact_dense_mflops=exact_dense,
        exact_ratio=exact_dense / exact,
        kept_fractions=[float(np.mean(np.asarray(count) / lengths)) for count in counts],
    )
