"""Selection and compaction against plain Python: sorted() and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from trbert_deploy.model.compaction import (
    gather_order,
    gather_states,
    keep_by_budget,
    keep_by_policy,
    put_back,
)
from trbert_deploy.reductions.selector import Selector

# Few distinct values, so that ties are the rule; both zeros; neighbours of zero.
LOGITS = st.sampled_from([-3.0, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, 1.0000001, 3.0, 1e30])


@st.composite
def selections(draw):
    """A row: logits, candidates (anywhere, as where tokens are restored), protected, budget."""
    width = draw(st.integers(1, 9))
    logits = draw(st.lists(LOGITS, min_size=width, max_size=width))
    candidates = draw(st.lists(st.booleans(), min_size=width, max_size=width))
    protected = draw(st.lists(st.booleans(), min_size=width, max_size=width))
    return logits, candidates, protected, draw(st.integers(1, width + 1))


def brute_budget(logits, candidates, protected, budget):
    alive = [i for i, candidate in enumerate(candidates) if candidate]
    forced = [i for i in alive if protected[i]]
    free = sorted((i for i in alive if not protected[i]), key=lambda i: (-logits[i], i))
    chosen = forced + free[: max(0, budget - len(forced))]
    return [i in chosen for i in range(len(logits))]


def brute_policy(logits, candidates, protected):
    return [c and (p or value >= 0) for value, c, p in zip(logits, candidates, protected, strict=True)]


def tensors(row):
    logits, candidates, protected, budget = row
    return (
        torch.tensor([logits], dtype=torch.float32),
        torch.tensor([candidates]),
        torch.tensor([protected]),
        torch.tensor([budget]),
    )


@given(selections())
@example(([1.0] * 6, [True] * 6, [True] + [False] * 5, 3))  # all equal
@example(([9.0, 2.0, 5.0, 2.0, 5.0, 1.0, 1.0], [True] * 7, [True] + [False] * 6, 4))  # a pair across the budget
@example(([0.0, -0.0, 0.0, -0.0], [True] * 4, [False] * 4, 2))  # zeros are equal
@example(([0.0] * 5, [True] * 5, [True] * 4 + [False], 2))  # more protected than the budget
@example(([5.0, 4.0, 3.0, 2.0], [True, True, False, False], [False] * 4, 3))  # padding, budget beyond the row
@example(([-1.0, 5.0, 4.0], [True] * 3, [True, False, False], 1))  # the shielded token is the worst
def test_budget_is_sorted_by_logit_then_position(row):
    logits, candidates, protected, budget = row
    kept = keep_by_budget(*tensors(row))
    float32 = [float(np.float32(value)) for value in logits]
    assert kept.tolist() == [brute_budget(float32, candidates, protected, budget)]


@given(selections())
@example(([-0.0, 0.0, -1e-45, 1e-45], [True] * 4, [False] * 4, 1))
def test_policy_keeps_what_is_not_negative(row):
    logits, candidates, protected, _ = row
    kept = keep_by_policy(*tensors(row)[:3])
    float32 = [float(np.float32(value)) for value in logits]
    assert kept.tolist() == [brute_policy(float32, candidates, protected)]


@given(st.lists(selections(), min_size=2, max_size=5))
def test_rows_of_a_batch_do_not_touch_each_other(rows):
    width = max(len(row[0]) for row in rows)

    def padded(values, filler):
        return values + [filler] * (width - len(values))

    batch = (
        torch.tensor([padded(row[0], 1e9) for row in rows]),  # padding would win if it took part
        torch.tensor([padded(row[1], False) for row in rows]),
        torch.tensor([padded(row[2], True) for row in rows]),
        torch.tensor([row[3] for row in rows]),
    )
    by_budget, by_policy = keep_by_budget(*batch), keep_by_policy(*batch[:3])
    for place, row in enumerate(rows):
        length = len(row[0])
        assert by_budget[place, :length].equal(keep_by_budget(*tensors(row))[0])
        assert by_policy[place, :length].equal(keep_by_policy(*tensors(row)[:3])[0])
        assert not by_budget[place, length:].any()
        assert not by_policy[place, length:].any()


def test_a_budget_row_keeps_exactly_its_budget_at_full_length():
    logits = torch.zeros(3, 512)
    protected = torch.zeros(3, 512, dtype=torch.bool)
    kept = keep_by_budget(logits, torch.ones_like(protected), protected, torch.tensor([1, 77, 512]))
    assert kept.sum(1).tolist() == [1, 77, 512]
    assert kept[1].nonzero().flatten().tolist() == list(range(77))


@st.composite
def masks(draw):
    """Keep masks of a batch, some of its rows in any order and repeated, and a wide enough count."""
    width, batch = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    mask = draw(st.lists(st.lists(st.integers(0, 1), min_size=width, max_size=width), min_size=batch, max_size=batch))
    rows = draw(st.lists(st.integers(0, batch - 1), min_size=1, max_size=5))
    widest = max(sum(mask[row]) for row in rows)
    return mask, rows, draw(st.integers(max(1, widest), width))


@given(masks())
def test_gathering_and_putting_back_against_loops(case):
    mask, rows, count = case
    width, hidden = len(mask[0]), 3
    states = torch.arange(len(mask) * width * hidden, dtype=torch.float32).reshape(len(mask), width, hidden)
    order, valid = gather_order(torch.tensor(mask), torch.tensor(rows), torch.zeros(count, dtype=torch.int64))
    gathered = gather_states(states, torch.tensor(rows), order)
    assert order.shape == valid.shape == (len(rows), count)
    assert gathered.shape == (len(rows), count, hidden)
    for place, row in enumerate(rows):
        kept = [position for position in range(width) if mask[row][position]]
        assert order[place, : len(kept)].tolist() == kept
        assert valid[place].tolist() == [True] * len(kept) + [False] * (count - len(kept))
        assert len(set(order[place].tolist())) == count
        for column, position in enumerate(order[place].tolist()):
            assert gathered[place, column].equal(states[row, position])

    changed = -gathered - 1
    full, full_mask = states[rows], torch.tensor(mask)[rows]
    restored = put_back(full, changed, full_mask)
    flat = put_back(full[..., 0], changed[..., 0], full_mask)
    for place, row in enumerate(rows):
        next_kept = 0
        for position in range(width):
            if mask[row][position]:
                wanted = changed[place, next_kept]
                next_kept += 1
            else:
                wanted = states[row, position]
            assert restored[place, position].equal(wanted)
            assert flat[place, position].equal(wanted[0])


@given(masks())
def test_options_of_a_row_are_gathered_alike(case):
    mask, rows, count = case
    width, hidden, options = len(mask[0]), 2, 3
    size = (len(mask), options, width, hidden)
    states = torch.arange(math.prod(size), dtype=torch.float32).reshape(size)
    order, _ = gather_order(torch.tensor(mask), torch.tensor(rows), torch.zeros(count, dtype=torch.int64))
    gathered = gather_states(states, torch.tensor(rows), order)
    assert gathered.shape == (len(rows), options, count, hidden)
    for place, row in enumerate(rows):
        for option in range(options):
            for column, position in enumerate(order[place].tolist()):
                assert gathered[place, option, column].equal(states[row, option, position])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_selector_computes_in_float32_whatever_it_is_given(dtype):
    torch.manual_seed(0)
    selector = Selector(8, 4)
    states = torch.randn(2, 5, 8).to(dtype)
    logits = selector(states)
    assert logits.dtype == torch.float32
    assert logits.shape == (2, 5)
    parameters = {name: value.detach().double().numpy() for name, value in selector.named_parameters()}
    hidden = states.float().double().numpy() @ parameters["dense.weight"].T + parameters["dense.bias"]
    exact_gelu = 0.5 * hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    wanted = exact_gelu @ parameters["score.weight"].T + parameters["score.bias"]
    np.testing.assert_allclose(logits.detach().numpy(), wanted[..., 0], atol=1e-6)
