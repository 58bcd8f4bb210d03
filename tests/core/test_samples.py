"""Random inputs are what a specification allows, whatever it says: checked by the check that callers' arrays meet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.request import check_request
from trbert_deploy.core.samples import random_batch
from trbert_deploy.core.specs import DecodingSpec, InputSpec, OutputSpec, TaskSpec
from trbert_deploy.tasks import TASKS, Limits

LIMITS = Limits(max_length=32, vocab_size=100, token_types=2)


def task_with(*own, sequences_axis=None):
    """A task whose rows are of at most 32 tokens, with inputs of its own."""
    axes = ("batch", sequences_axis, "length") if sequences_axis else ("batch", "length")
    return TaskSpec(
        name="made-up",
        inputs=(
            InputSpec("input_ids", axes, maximum=99),
            InputSpec("attention_mask", axes, maximum=1, default=1),
            *own,
        ),
        outputs=(OutputSpec("logits", ("batch", 2)),),
        max_length=32,
        text=None,
        decoding=DecodingSpec("classes"),
        sequences_axis=sequences_axis,
    )


@st.composite
def own_inputs(draw):
    """An input of a task's own, for rows of at least 4 tokens."""
    minimum = draw(st.integers(-1, 3))
    return InputSpec(
        "own",
        ("batch", *draw(st.sampled_from([(), ("things",), ("things", 2), (3,)]))),
        minimum=minimum,
        maximum=draw(st.none() | st.integers(max(0, minimum), 40)),
        maximum_from_length=draw(st.none() | st.integers(-1, 2)),
        padding=draw(st.sampled_from([-1, 0])) if minimum == -1 else 0,
    )


@given(own_inputs(), st.lists(st.integers(4, 32), min_size=1, max_size=4), st.booleans(), st.integers(0, 9))
def test_what_is_drawn_passes_the_check(own, lengths, several, seed):
    task = task_with(own, sequences_axis="options" if several else None)
    batch = random_batch(task, lengths, np.random.default_rng(seed))
    request = check_request(task, batch)
    assert request.lengths.tolist() == lengths
    assert request.sequences == (4 if several else 1)
    drawn = request.arrays["own"]
    assert drawn.dtype == np.int64
    if own.axes[1:] and isinstance(own.axes[-1], int):  # spans: first and last
        assert (np.diff(drawn, axis=-1) >= 0).all()
    if own.padding < 0 and drawn.ndim > 1:
        assert (drawn[:, -1] == own.padding).all()  # one is absent


@pytest.mark.parametrize("name", TASKS.names())
@pytest.mark.parametrize("lengths", [[1], [32, 2, 17]])
def test_every_task_has_samples(name, lengths):
    task = TASKS.get(name).spec(LIMITS)
    request = check_request(task, random_batch(task, lengths, np.random.default_rng(0)))
    assert request.lengths.tolist() == lengths


@pytest.mark.parametrize(
    ("spec", "good", "bad", "said"),
    [
        ({}, [[0], [99]], [[0], [-1]], "own of row 1 must be from 0; the row has 3 tokens"),
        ({"minimum": 2}, [[2], [9]], [[1], [9]], "own of row 0 must be from 2; the row has 5 tokens"),
        ({"maximum": 7}, [[7], [0]], [[0], [8]], "own of row 1 must be from 0 to 7; the row has 3 tokens"),
        ({"maximum": 2, "minimum": -3}, [[2], [-3]], [[3], [0]], "own of row 0 must be from -3 to 2; "),
        ({"maximum_from_length": -1}, [[4], [2]], [[4], [3]], "own of row 1 must be positions in the row; "),
        (
            {"maximum_from_length": 0, "minimum": 1},
            [[5], [3]],
            [[6], [3]],
            "own of row 0 must be 1 to the row's length",
        ),
        ({"maximum_from_length": -1, "minimum": -1}, [[-1], [2]], [[-2], [2]], r"positions in the row \(-1: absent\)"),
    ],
)
def test_an_own_input_has_its_own_range(spec, good, bad, said):
    task = task_with(InputSpec("own", ("batch", "things"), **spec))
    rows = {"input_ids": np.ones((2, 5), int), "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]}
    assert check_request(task, {**rows, "own": good}).arrays["own"].tolist() == good
    with pytest.raises(InputError, match=said):
        check_request(task, {**rows, "own": bad})


@pytest.mark.parametrize("own", [[1, 2], [[1, 2, 3]] * 2, [[[1, 2]]] * 3, 7])
def test_an_own_input_has_its_own_axes(own):
    task = task_with(InputSpec("own", ("batch", "things", 2)))
    with pytest.raises(InputError, match=r"own must be \[rows, things, 2\] with 2 rows, not \["):
        check_request(task, {"input_ids": [[1, 2], [1, 2]], "own": own})
