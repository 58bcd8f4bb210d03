from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trbert_deploy.core.specs import DecodingSpec, InputSpec, TaskSpec
from trbert_deploy.runtimes.profiles import Profile, choose_profile, own_axes, stage_profiles
from trbert_deploy.runtimes.shape_buckets import ShapeBuckets, round_up, round_up_rows
from trbert_deploy.tasks import TASKS, Limits

BUCKETS = st.lists(st.integers(1, 512), min_size=1, max_size=6, unique=True).map(sorted).map(tuple)
OWN = ["options"]


SHAPES = st.builds(
    ShapeBuckets,
    lengths=BUCKETS,
    kept=st.lists(BUCKETS, min_size=1, max_size=2).map(tuple),
    rows=st.integers(1, 64),
    entries=st.integers(1, 9),
)


@given(SHAPES, st.booleans(), st.data())
def test_every_shape_within_the_buckets_has_a_profile_and_it_is_the_smallest(shapes, full_length, data):
    """Follows a group of rows through the stages, rounding as the runtime does."""
    width = data.draw(st.integers(1, shapes.lengths[-1]), "length")
    before = round_up(width, shapes.lengths)
    sizes = {"length": before}
    for stage in range(len(shapes.kept) + 1):
        if stage > 0:
            count = data.draw(st.integers(1, min(width, shapes.tokens(stage)[-1])), f"kept {stage}")
            kept = min(round_up(count, shapes.tokens(stage)), before)
            sizes = {"kept": kept, "length": before, "batch_before": shapes.rows}
            if not full_length:
                width, before = count, kept
            else:
                width = count
        sizes["batch"] = round_up_rows(data.draw(st.integers(1, shapes.rows), "rows"), shapes.rows)
        sizes["options"] = data.draw(st.integers(1, shapes.entries), "entries")
        profiles = stage_profiles(shapes, stage, full_length=full_length, own=OWN)
        number = choose_profile(profiles, sizes)
        assert number is not None
        fitting = [profile for profile in profiles if profile.fits(sizes)]

        def cost(profile, stage=stage):
            return profile.axes["kept" if stage else "length"][2], profile.axes["batch"][2]

        assert cost(profiles[number]) == min(map(cost, fitting))


@given(SHAPES, st.booleans())
def test_profiles_are_ranges_whose_kept_tokens_are_there(shapes, full_length):
    for stage in range(len(shapes.kept) + 1):
        profiles = stage_profiles(shapes, stage, full_length=full_length, own=OWN)
        assert len(profiles) == len(shapes.tokens(stage)) * (1 if shapes.rows == 1 else 2)
        for profile in profiles:
            for least, best, most in profile.axes.values():
                assert 1 <= least <= best <= most
            if stage > 0:
                assert profile.axes["kept"][1] <= profile.axes["length"][1]


def test_a_shape_beyond_every_profile_has_none():
    shapes = ShapeBuckets(lengths=(16, 32), kept=((8,),), rows=4, entries=2)
    profiles = stage_profiles(shapes, 0, full_length=False, own=["candidates"])
    assert choose_profile(profiles, {"batch": 1, "length": 17}) == 2
    assert choose_profile(profiles, {"batch": 2, "length": 16}) == 1
    assert choose_profile(profiles, {"batch": 1, "length": 33}) is None
    assert choose_profile(profiles, {"batch": 5, "length": 3}) is None
    assert choose_profile(profiles, {"batch": 1, "length": 3, "candidates": 3}) is None


def test_axes_are_the_callers_own_where_stages_do_not_know_them():
    limits = Limits(max_length=16, vocab_size=9, token_types=2)
    found = {task.name: own_axes(task.spec(limits)) for task in TASKS}
    assert found["sequence-classification"] == ()
    assert found["multiple-choice"] == ("options",)
    assert found["hotpot"] == ("sentences",)
    assert found["wikihop"] == ("candidates",)
    inputs = (InputSpec("input_ids", ("batch", "length")), InputSpec("regions", ("batch", "pages", "boxes", 4)))
    assert own_axes(TaskSpec("of another package", inputs, (), 16, None, DecodingSpec("none"))) == ("pages", "boxes")


def test_an_axis_of_the_callers_own_ranges_up_to_the_entries_in_every_stage():
    shapes = ShapeBuckets(lengths=(16,), kept=((8,),), rows=4, entries=6)
    for stage in (0, 1):
        for profile in stage_profiles(shapes, stage, full_length=True, own=("pages", "boxes")):
            assert profile.axes["pages"] == profile.axes["boxes"] == (1, 6, 6)


def test_shapes_of_an_input():
    profile = Profile(axes={"batch": (1, 2, 4), "length": (1, 8, 16)})
    assert [profile.shape(("batch", "length", 32), which) for which in range(3)] == [
        (1, 1, 32),
        (2, 8, 32),
        (4, 16, 32),
    ]
