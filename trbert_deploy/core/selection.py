"""What selection means, without a tensor library: modes, budgets and the bookkeeping of kept positions.

The tensor form of the same rules is `trbert_deploy.model.compaction`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from trbert_deploy.core.errors import InputError

#: Budgets are counted in millionths, in integers, so that every runtime and language rounds alike.
BUDGET_SCALE = 1_000_000

Kept = list[list[npt.NDArray[np.int64]]]  # [reduction][row] -> kept positions in the original row, ascending


@dataclass(frozen=True)
class Selection:
    """How tokens are chosen at the reductions of a model.

    Attributes:
        fractions: for budget mode the fraction of the ORIGINAL length kept at each reduction (the paper's r, section
            3.2); empty for policy mode, where each row keeps the tokens whose score is not negative.
    """

    fractions: tuple[float, ...] = ()

    @property
    def mode(self) -> Literal["policy", "budget"]:
        """``"policy"`` or ``"budget"``."""
        return "budget" if self.fractions else "policy"

    @classmethod
    def of(cls, fractions: Sequence[float] | None, reductions: int) -> Selection:
        """Check the fractions against a model with so many reductions.

        Raises:
            InputError: a fraction is outside (0, 1], they increase, or there are not as many as reductions.
        """
        given = tuple(float(fraction) for fraction in fractions or ())
        if not given:
            return cls()
        if len(given) != reductions:
            raise InputError(
                f"the model has {reductions} reductions, but {len(given)} keep fractions were given",
                f"give {reductions}, e.g. --keep {','.join(['0.4', '0.15', '0.1', '0.05'][:reductions])}"
                if reductions
                else "leave --keep out: this checkpoint has no selectors",
            )
        if any(not 1 / BUDGET_SCALE <= fraction <= 1 for fraction in given):
            raise InputError(f"keep fractions must lie in (0, 1], not {list(given)}")
        if any(later > earlier for earlier, later in pairwise(given)):
            raise InputError(
                f"keep fractions count from the original length and cannot grow, but are {list(given)}",
                "for example --keep 0.4,0.15",
            )
        return cls(tuple(millionths(fraction) / BUDGET_SCALE for fraction in given))  # as it will be counted


def millionths(fraction: float) -> int:
    """A keep fraction as the integer that every runtime counts with."""
    return round(fraction * BUDGET_SCALE)


def budget(lengths: npt.NDArray[np.int64], fraction: float) -> npt.NDArray[np.int64]:
    """How many tokens rows of these lengths keep: ceil(fraction * length), exactly, and at least one.

    Args:
        lengths: int64 [B], real tokens of each row.
        fraction: of the original length, in (0, 1].
    """
    return (lengths * millionths(fraction) + (BUDGET_SCALE - 1)) // BUDGET_SCALE


def budget_counts(
    lengths: npt.NDArray[np.int64], fraction: float, protected_from: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.int64]:
    """How many tokens rows of these lengths have left after a reduction in budget mode, known before it is run.

    Args:
        lengths: int64 [B], real tokens of each row (in multiple choice of its longest option).
        fraction: see `budget`.
        protected_from: where the task protects tokens int64 [B]: those from there on and [CLS] are kept beyond any
            budget.
    """
    counts = budget(lengths, fraction)
    return counts if protected_from is None else np.maximum(counts, 1 + lengths - protected_from)


def keep_mask(kept: npt.NDArray[np.int64], before: npt.NDArray[np.int64] | None, width: int) -> npt.NDArray[np.int64]:
    """One row's keep mask from its kept positions: the reverse of a step of `kept_positions`.

    Args:
        kept: kept positions in the original row, ascending.
        before: the positions that the mask is over, ascending, among them all of `kept`; None for all of the row.
        width: of the mask; padding behind the row is 0.

    Returns:
        int64 [width], 1 where a token is kept.
    """
    mask = np.zeros(width, dtype=np.int64)
    mask[kept if before is None else np.searchsorted(before, kept)] = 1
    return mask


def check_kept(kept: Kept, lengths: npt.NDArray[np.int64], reductions: int) -> None:
    """See that kept sets are such as selections give.

    Args:
        kept: for each reduction and row the kept positions of the original row.
        lengths: int64 [B], tokens of the rows.
        reductions: how many the model has.

    Raises:
        InputError: their numbers are others, or a row's positions do not ascend or are not among those before.
    """
    if len(kept) != reductions or any(len(rows) != len(lengths) for rows in kept):
        shape = ", ".join(str(len(rows)) for rows in kept) or "none"
        raise InputError(
            f"kept sets are wanted for {reductions} reductions of {len(lengths)} rows each, not for {shape}",
            "give EngineOutput.selection of the same batch",
        )
    for row, length in enumerate(lengths):
        before = np.arange(length)
        for reduction, rows in enumerate(kept):
            positions = np.asarray(rows[row])
            if not positions.size or (np.diff(positions) <= 0).any() or not np.isin(positions, before).all():
                raise InputError(
                    f"row {row}, reduction {reduction}: kept positions must ascend, be at least one, and be among the "
                    f"{len(before)} that reach it",
                    "give EngineOutput.selection of the same batch",
                )
            before = positions


def kept_positions(keep_masks: Sequence[npt.NDArray[np.int64]], full_length: bool) -> list[npt.NDArray[np.int64]]:
    """Chain one row's keep masks into positions in the original row.

    Args:
        keep_masks: a mask for each reduction.
        full_length: whether all masks are over the original positions; else each is over the tokens that the one before
            kept (padding behind them is 0).

    Returns:
        For each reduction the kept original positions, ascending.
    """
    chained: list[npt.NDArray[np.int64]] = []
    for mask in keep_masks:
        positions = np.flatnonzero(mask).astype(np.int64)
        chained.append(chained[-1][positions] if chained and not full_length else positions)
    return chained
