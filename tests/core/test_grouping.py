"""The groups against every possible partition."""

from __future__ import annotations

import itertools
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trbert_deploy.core.grouping import GROUP_OVERHEAD_TOKENS, MAX_GROUP_TOKENS, group_rows

COUNTS = st.one_of(
    st.lists(st.integers(1, 512), min_size=1, max_size=7),
    st.lists(st.sampled_from([1, 60, 64, 65, 128, 512]), min_size=1, max_size=7),  # ties, and about the overhead
)


def cost_of(groups, counts, sequences):
    return sum(len(group) * max(counts[i] for i in group) * sequences + GROUP_OVERHEAD_TOKENS for group in groups)


def set_partitions(items):
    if not items:
        yield []
        return
    first, *rest = items
    for partition in set_partitions(rest):
        yield [[first], *partition]
        for place, group in enumerate(partition):
            yield [*partition[:place], [first, *group], *partition[place + 1 :]]


def cuts(order):
    for size in range(len(order)):
        for places in itertools.combinations(range(1, len(order)), size):
            bounds = [0, *places, len(order)]
            yield [order[start:end] for start, end in itertools.pairwise(bounds)]


def check_shape(groups, counts):
    assert sorted(int(row) for group in groups for row in group) == list(range(len(counts)))
    assert all(list(group) == sorted(group) for group in groups)
    longest = [max(counts[row] for row in group) for group in groups]
    assert longest == sorted(longest, reverse=True)
    assert all(np.issubdtype(group.dtype, np.integer) for group in groups)


@given(COUNTS, st.sampled_from([1, 4]))
def test_no_partition_whatsoever_costs_less(counts, sequences):
    groups = group_rows(np.array(counts), sequences=sequences)
    check_shape(groups, counts)
    best = min(cost_of(partition, counts, sequences) for partition in set_partitions(list(range(len(counts)))))
    assert cost_of(groups, counts, sequences) == best


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=9),
    st.sampled_from([1, 3]),
    st.sampled_from([90, 200, 500]),
)
def test_the_cap_against_every_cut(counts, sequences, cap):
    def allowed(group):
        return len(group) == 1 or len(group) * max(counts[i] for i in group) * sequences <= cap

    groups = group_rows(np.array(counts), sequences=sequences, max_tokens=cap)
    check_shape(groups, counts)
    assert all(allowed(group) for group in groups)
    order = sorted(range(len(counts)), key=lambda i: -counts[i])
    best = min(cost_of(cut, counts, sequences) for cut in cuts(order) if all(allowed(group) for group in cut))
    assert cost_of(groups, counts, sequences) == best


def test_the_cap_holds_in_a_large_batch():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 513, 400)
    groups = group_rows(counts)
    check_shape(groups, counts)
    assert all(len(group) * counts[group].max() <= MAX_GROUP_TOKENS for group in groups)
    assert len(groups) > 1
    assert cost_of(groups, counts, 1) < cost_of([range(400)], counts, 1)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=9), st.integers(1, 4), st.sampled_from([0, 30, 1000]))
def test_rows_of_a_group_and_its_overhead(counts, max_rows, overhead):
    groups = group_rows(np.array(counts), max_rows=max_rows, overhead_tokens=overhead)
    check_shape(groups, counts)
    order = sorted(range(len(counts)), key=lambda i: -counts[i])

    def cost(cut):
        return sum(len(group) * max(counts[i] for i in group) + overhead for group in cut)

    assert all(len(group) <= max_rows for group in groups)
    assert cost(groups) == min(cost(cut) for cut in cuts(order) if all(len(group) <= max_rows for group in cut))


def test_a_single_row_may_exceed_the_cap():
    groups = group_rows(np.array([MAX_GROUP_TOKENS + 1, 3]))
    assert [group.tolist() for group in groups] == [[0], [1]]


def test_equal_rows_run_together_in_their_order():
    groups = group_rows(np.full(30, 128))
    assert [group.tolist() for group in groups] == [list(range(30))]


def test_short_rows_do_not_pay_for_a_long_one():
    groups = group_rows(np.array([10, 512, 12, 500, 11]))
    assert [group.tolist() for group in groups] == [[1, 3], [0, 2, 4]]


def test_twenty_thousand_short_rows_are_grouped_in_no_time():
    start = time.process_time()
    groups = group_rows(np.full(20_000, 2))
    assert sorted(map(len, groups)) == [20_000 - 2 * (MAX_GROUP_TOKENS // 2), *[MAX_GROUP_TOKENS // 2] * 2]
    assert time.process_time() - start < 2  # it was minutes, most of them for groups that are too large
