from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trbert_deploy.core.errors import InputError
from trbert_deploy.runtimes.tensorrt.buckets import (
    Grid,
    choose_profile,
    doubling_buckets,
    parse_buckets,
    quantile_buckets,
    round_up,
    round_up_counts,
    round_up_rows,
    stage_profiles,
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


GRIDS = st.builds(
    Grid,
    lengths=BUCKETS,
    kept=st.lists(BUCKETS, min_size=1, max_size=2).map(tuple),
    rows=st.integers(1, 64),
    items=st.integers(1, 9),
)


@given(GRIDS, st.booleans(), st.data())
def test_every_shape_within_the_grid_has_a_profile_and_it_is_the_smallest(grid, restores, data):
    """Follows a group of rows through the stages, rounding as the runtime does."""
    width = data.draw(st.integers(1, grid.lengths[-1]), "length")
    before = round_up(width, grid.lengths)
    sizes = {"length": before}
    for stage in range(len(grid.kept) + 1):
        if stage > 0:
            count = data.draw(st.integers(1, min(width, grid.tokens(stage)[-1])), f"kept {stage}")
            kept = min(round_up(count, grid.tokens(stage)), before)
            sizes = {"kept": kept, "length": before, "batch_before": grid.rows}
            if not restores:
                width, before = count, kept
            else:
                width = count
        sizes["batch"] = round_up_rows(data.draw(st.integers(1, grid.rows), "rows"), grid.rows)
        sizes["options"] = data.draw(st.integers(1, grid.items), "items")
        profiles = stage_profiles(grid, stage, restores=restores)
        number = choose_profile(profiles, sizes)
        assert number is not None
        fitting = [profile for profile in profiles if profile.fits(sizes)]

        def cost(profile, stage=stage):
            return profile.axes["kept" if stage else "length"][2], profile.axes["batch"][2]

        assert cost(profiles[number]) == min(map(cost, fitting))


@given(GRIDS, st.booleans())
def test_profiles_are_ranges_whose_kept_tokens_are_there(grid, restores):
    for stage in range(len(grid.kept) + 1):
        profiles = stage_profiles(grid, stage, restores=restores)
        assert len(profiles) == len(grid.tokens(stage)) * (1 if grid.rows == 1 else 2)
        for profile in profiles:
            for least, best, most in profile.axes.values():
                assert 1 <= least <= best <= most
            if stage > 0:
                assert profile.axes["kept"][1] <= profile.axes["length"][1]


def test_a_shape_beyond_every_profile_has_none():
    grid = Grid(lengths=(16, 32), kept=((8,),), rows=4, items=2)
    profiles = stage_profiles(grid, 0, restores=False)
    assert choose_profile(profiles, {"batch": 1, "length": 17}) == 2
    assert choose_profile(profiles, {"batch": 2, "length": 16}) == 1
    assert choose_profile(profiles, {"batch": 1, "length": 33}) is None
    assert choose_profile(profiles, {"batch": 5, "length": 3}) is None
    assert choose_profile(profiles, {"batch": 1, "length": 3, "candidates": 3}) is None


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
