"""Budgets in exact arithmetic, the refusals of `Selection.of`, and the chaining of kept positions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.selection import BUDGET_SCALE, Selection, budget, keep_mask, kept_positions, millionths

DECIMALS = st.integers(1, BUDGET_SCALE).map(lambda count: count / BUDGET_SCALE)


@given(DECIMALS, st.lists(st.integers(1, 20000), min_size=1, max_size=20))
@example(0.15, [20])  # 0.15 * 20 = 3.0000000000000004 in floats, which would round up to 4
@example(0.1, [30])
@example(0.07, [100])  # 7.000000000000001
@example(0.29, [100])  # 28.999999999999996
@example(1.0, [1, 511, 512])
@example(0.000001, [1, 512])
@example(0.333333, [3])
@example(0.333334, [3])
def test_budget_is_the_exact_rounded_up_fraction(fraction, lengths):
    counted = budget(np.array(lengths), fraction)
    assert counted.dtype == np.int64
    assert counted.tolist() == [math.ceil(Fraction(str(fraction)) * length) for length in lengths]


@given(DECIMALS, st.integers(1, 20000))
def test_budget_is_at_least_one_and_at_most_the_row(fraction, length):
    (counted,) = budget(np.array([length]), fraction)
    assert 1 <= counted <= length


@given(DECIMALS)
def test_millionths_of_a_decimal_are_exact(fraction):
    assert Fraction(millionths(fraction), BUDGET_SCALE) == Fraction(str(fraction))


def test_fractions_with_more_digits_count_as_their_nearest_millionth():
    assert budget(np.array([3, 6, 9]), 1 / 3).tolist() == [1, 2, 3]
    assert budget(np.array([3, 6, 9]), 2 / 3).tolist() == [3, 5, 7]  # 0.666667


@pytest.mark.parametrize("keep", [None, (), []])
def test_nothing_given_is_policy(keep):
    assert Selection.of(keep, 2) == Selection()
    assert Selection.of(keep, 2).mode == "policy"
    assert Selection.of(keep, 0).mode == "policy"


@pytest.mark.parametrize("keep", [(0.4, 0.15), (1, 1), (0.5, 0.5), (1.0, 1e-6)])
def test_fractions_that_fit_are_budget(keep):
    selection = Selection.of(keep, 2)
    assert selection.mode == "budget"
    assert selection.fractions == tuple(float(fraction) for fraction in keep)
    assert all(type(fraction) is float for fraction in selection.fractions)


@pytest.mark.parametrize(
    ("keep", "reductions", "words", "hint"),
    [
        ((0.4,), 2, "2 reductions, but 1 keep", "--keep 0.4,0.15"),
        ((0.4, 0.3, 0.2), 2, "2 reductions, but 3 keep", "--keep 0.4,0.15"),
        ((0.4, 0.15), 1, "1 reductions, but 2 keep", "--keep 0.4"),
        ((0.4,), 0, "0 reductions, but 1 keep", "no selectors"),
        ((0.0, 0.0), 2, r"\(0, 1\]", ""),
        ((0.5, -0.1), 2, r"\(0, 1\]", ""),
        ((1.01, 0.5), 2, r"\(0, 1\]", ""),
        ((40, 15), 2, r"\(0, 1\]", ""),
        ((float("nan"), 0.5), 2, r"\(0, 1\]", ""),
        ((0.5, float("inf")), 2, r"\(0, 1\]", ""),
        ((0.5, 4e-7), 2, r"\(0, 1\]", ""),
        ((0.15, 0.4), 2, "cannot grow", "--keep 0.4,0.15"),
    ],
)
def test_fractions_that_do_not_fit_are_refused(keep, reductions, words, hint):
    with pytest.raises(InputError, match=words) as caught:
        Selection.of(keep, reductions)
    assert hint in caught.value.hint


@given(st.data(), st.booleans())
def test_kept_positions_against_chaining_by_hand(data, full_length):
    width = data.draw(st.integers(1, 10))
    alive, masks, wanted = list(range(width)), [], []
    for _ in range(data.draw(st.integers(0, 3))):
        kept = [position for position in alive if data.draw(st.booleans())] or alive[:1]
        if full_length:
            masks.append(np.array([int(position in kept) for position in range(width)]))
        else:
            padding = data.draw(st.integers(0, 3))
            masks.append(np.array([int(position in kept) for position in alive] + [0] * padding))
        alive = kept
        wanted.append(kept)
    chained = kept_positions(masks, full_length)
    assert [positions.tolist() for positions in chained] == wanted
    assert all(positions.dtype == np.int64 for positions in chained)


@given(st.data(), st.booleans())
def test_keep_mask_reverses_a_step_of_kept_positions(data, full_length):
    width = data.draw(st.integers(1, 10))
    before, chain, masks = None, [], []
    for _ in range(data.draw(st.integers(1, 3))):
        alive = list(range(width)) if before is None else before.tolist()
        kept = np.array([position for position in alive if data.draw(st.booleans())] or alive[:1])
        over = None if full_length else before
        size = (width if over is None else len(over)) + data.draw(st.integers(0, 2))
        masks.append(keep_mask(kept, over, size))
        assert masks[-1].shape == (size,)
        chain.append(kept.tolist())
        before = kept
    assert [positions.tolist() for positions in kept_positions(masks, full_length)] == chain
