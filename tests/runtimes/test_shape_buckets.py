from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trbert_deploy.core.errors import InputError
from trbert_deploy.runtimes.shape_buckets import (
    doubling_buckets,
    parse_buckets,
    quantile_buckets,
    round_up,
    round_up_counts,
    round_up_rows,
)

BUCKETS = st.lists(st.integers(1, 512), min_size=1, max_size=6, unique=True).map(sorted).map(tuple)


@given(BUCKETS, st.integers(1, 600))
def test_round_up_is_the_smallest_bucket_that_holds_it(buckets, size):
    given_bucket = round_up(size, buckets)
    holding = [bucket for bucket in buckets if bucket >= size]
    assert given_bucket == (min(holding) if holding else None)
    assert round_up_counts(np.array([size]), buckets).tolist() == [given_bucket or size]


@given(st.integers(1, 400), st.integers(1, 400))
def test_rows_are_rounded_by_a_third_at_most_and_never_beyond_the_largest(rows, largest):
    if rows > largest:
        return
    rounded = round_up_rows(rows, largest)
    assert rows <= rounded <= largest
    assert 3 * (rounded - rows) <= rounded
    assert round_up_rows(rounded, largest) == rounded


def test_row_sizes_are_few():
    assert sorted({round_up_rows(rows, 32) for rows in range(1, 33)}) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]


def test_quantiles_of_counts():
    counts = [*range(1, 101)]
    assert quantile_buckets(counts, 128) == (32, 56, 80, 96, 128)
    assert quantile_buckets([3], 64) == (8, 64)
    assert quantile_buckets([64] * 9, 64) == (64,)
    assert quantile_buckets([61], 62) == (62,)


@given(st.lists(st.integers(1, 512), min_size=1, max_size=50))
def test_no_counted_row_is_beyond_the_quantile_buckets(counts):
    buckets = quantile_buckets(counts, 512)
    assert list(buckets) == sorted(set(buckets))
    assert all(round_up(count, buckets) is not None for count in counts)


def test_doubling():
    assert doubling_buckets(512) == (32, 64, 128, 256, 512)
    assert doubling_buckets(50) == (32, 50)
    assert doubling_buckets(20) == (20,)


def test_buckets_by_hand():
    assert parse_buckets("512,128/64/32,16", 512, 2) == ((128, 512), (64,), (16, 32))
    assert parse_buckets("64", 512, 1) == ((64,), (64,))


@pytest.mark.parametrize(
    ("text", "message"),
    [("a", "are no buckets"), ("1,,2", "are no buckets"), ("1/2", "2 lists"), ("0", "no bucket"), ("513", "no bucket")],
)
def test_buckets_that_cannot_be_used(text, message):
    with pytest.raises(InputError, match=message):
        parse_buckets(text, 512, 2)
