"""Which tokens go on, and where they stood in the row."""

from __future__ import annotations

from typing import Any

#: Scores, which tokens are real and still there, which are kept whatever their score, the budget or None for policy.
_SELECTIONS: list[tuple[list[float], list[int], list[int], int | None]] = [
    ([-1.0], [1], [1], None),
    ([-1.0], [1], [1], 1),
    ([-1.0, -1.0, -1.0], [1, 1, 1], [1, 0, 0], None),
    ([-9.0, 0.0, -0.0, 1e-30, -1e-30], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0], None),  # a zero goes on, of either sign
    ([5.0, 5.0, 5.0, 5.0], [1, 1, 0, 0], [1, 0, 0, 0], None),  # padding never does
    ([0.0, 3.0, 3.0, 3.0, 1.0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0], 3),  # of equals the lower position
    ([0.0, 1.0, 2.0, 2.0, 2.0, 9.0], [1, 1, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0], 2),
    ([0.0, 0.0, 0.0, 0.0], [1, 1, 1, 1], [1, 0, 0, 0], 4),
    ([0.0, -0.0, 0.0], [1, 1, 1], [1, 0, 0], 2),  # zeros of both signs are equal
    ([-5.0, 4.0, 3.0, -9.0, -9.0], [1, 1, 1, 1, 1], [1, 0, 0, 1, 1], 2),  # more protected than the budget
    ([-5.0, 4.0, 3.0, -9.0, -9.0], [1, 1, 1, 1, 1], [1, 0, 0, 1, 1], 4),
    ([-5.0, 4.0, 3.0, -9.0, -9.0], [1, 1, 1, 1, 0], [1, 0, 0, 1, 1], 3),  # padding is not protected either
    ([1.0, 3.4e38, -3.4e38, 3.4e38], [1, 1, 1, 1], [1, 0, 0, 0], 2),
]

#: Keep masks, one a reduction, and whether all are over the original positions.
_CHAINS: list[tuple[list[list[int]], bool]] = [
    ([[1]], False),
    ([[1, 0, 1, 1, 0]], False),
    ([[1, 0, 1, 1, 0], [1, 0, 1]], False),
    ([[1, 0, 1, 1, 0], [1, 0, 1, 0]], False),  # padded behind
    ([[1, 1, 0, 1, 0, 1], [1, 0, 1, 1], [1, 0, 1]], False),
    ([[1, 0, 1, 1, 0], [1, 0, 0, 1, 0]], True),
    ([[1, 1, 1], [1, 1, 1]], False),
    ([[1, 0, 0, 0], [1]], False),
    ([], False),
]


def vectors() -> dict[str, Any]:
    """Selections by a sort; chains by looking positions up."""
    return {
        "what": "selections: keep masks from scores (policy mode: not negative; else budget: the highest, of equals "
        "the lower position); chains: a row's keep masks as kept positions in the original row",
        "selections": [_selection(*case) for case in _SELECTIONS],
        "chains": [_chain(*case) for case in _CHAINS],
    }


def _selection(scores: list[float], candidates: list[int], protected: list[int], budget: int | None) -> dict[str, Any]:
    real = [place for place, candidate in enumerate(candidates) if candidate]
    if budget is None:
        kept = {place for place in real if protected[place] or scores[place] >= 0}
    else:
        first = [place for place in real if protected[place]]
        others = sorted((place for place in real if not protected[place]), key=lambda place: (-scores[place], place))
        kept = set((first + others)[: max(budget, len(first))])
    mask = [int(place in kept) for place in range(len(scores))]
    return {"scores": scores, "candidates": candidates, "protected": protected, "budget": budget, "keep_mask": mask}


def _chain(masks: list[list[int]], full_length: bool) -> dict[str, Any]:
    kept: list[list[int]] = []
    for mask in masks:
        places = [place for place, keep in enumerate(mask) if keep]
        kept.append([kept[-1][place] for place in places] if kept and not full_length else places)
    return {"keep_masks": masks, "full_length": full_length, "kept": kept}
