"""What an engine takes, and every way to be refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.request import check_request
from trbert_deploy.tasks import TASKS, Limits

LIMITS = Limits(max_length=8, vocab_size=100, token_types=2)
DISTILBERT = Limits(max_length=8, vocab_size=100, token_types=0)
CLASSIFICATION, CHOICE, ANSWERING, HOTPOT, WIKIHOP = (
    "sequence-classification", "multiple-choice", "question-answering", "hotpot", "wikihop",
)  # fmt: skip


def check(task=CLASSIFICATION, limits=LIMITS, **given_inputs):
    return check_request(TASKS.get(task).spec(limits), given_inputs)


def test_ids_alone_are_all_real_and_of_type_zero():
    request = check(input_ids=[[1, 2, 3], [4, 5, 6]])
    assert len(request) == 2
    assert request.width == 3
    assert request.lengths.tolist() == [3, 3]
    assert request.arrays["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert request.arrays["token_type_ids"].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert {array.dtype for array in request.arrays.values()} == {np.dtype(np.int64)}


def test_none_counts_as_not_given():
    request = check(input_ids=[[1, 2]], attention_mask=None, token_type_ids=None, question_ends=None)
    assert request.arrays["attention_mask"].tolist() == [[1, 1]]


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64, np.uint64, object])
def test_every_integer_type_is_taken(dtype):
    mask = np.array([[True, True, False]])
    request = check(input_ids=np.array([[1, 2, 0]], dtype=dtype), attention_mask=mask)
    assert request.arrays["input_ids"].tolist() == [[1, 2]]
    assert request.arrays["attention_mask"].dtype == np.int64


def test_columns_of_padding_only_are_cut_and_the_width_remembered():
    request = check(input_ids=[[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]], attention_mask=[[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    assert request.width == 5
    assert request.lengths.tolist() == [3, 1]
    assert request.arrays["input_ids"].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert request.take("input_ids", np.array([1]), 1).tolist() == [[4]]


def test_padding_may_be_wider_than_the_limit():
    request = check(input_ids=np.ones((1, 20), int), attention_mask=np.eye(1, 20, dtype=int))
    assert request.width == 20
    assert request.arrays["input_ids"].shape == (1, 1)


@given(st.lists(st.integers(-(2**62), 2**62), min_size=3, max_size=3), st.integers(-9, 10**9))
def test_padding_may_hold_anything(garbage, type_garbage):
    ids = [[5, *garbage], [1, 2, 3, 4]]
    mask = [[1, 0, 0, 0], [1, 1, 1, 1]]
    types = [[1, type_garbage, type_garbage, 0], [0, 0, 1, 1]]
    request = check(input_ids=ids, attention_mask=mask, token_type_ids=types)
    taken = request.arrays["input_ids"]
    assert taken[mask_of(request)].tolist() == [5, 1, 2, 3, 4]
    assert ((taken >= 0) & (taken < 100)).all()
    types_taken = request.arrays["token_type_ids"]
    assert types_taken[mask_of(request)].tolist() == [1, 0, 0, 1, 1]
    assert ((types_taken >= 0) & (types_taken < 2)).all()


def mask_of(request):
    return request.arrays["attention_mask"] > 0


def test_the_callers_arrays_are_not_changed():
    ids = np.array([[1, 2, 3], [1, 999, 999]])
    mask = np.array([[1, 1, 1], [1, 0, 0]])
    request = check(input_ids=ids, attention_mask=mask)
    for array in request.arrays.values():
        array += 1
    assert ids.tolist() == [[1, 2, 3], [1, 999, 999]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_distilbert_takes_types_and_ignores_them():
    request = check(limits=DISTILBERT, input_ids=[[1, 2]], token_type_ids=[[7, -1]])
    assert "token_type_ids" not in request.arrays
    assert "token_type_ids" not in check(limits=DISTILBERT, input_ids=[[1, 2]]).arrays


# -- refusals ------------------------------------------------------------------------------------------------


class OnAGpu:
    def __array__(self, *_arguments, **_options):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "needs input_ids"),
        ({"input_ids": [[1]], "labels": [1]}, "takes no labels"),
        ({"input_ids": [[1]], "question_ends": [1]}, "takes no question_ends"),
        ({"input_ids": [1, 2]}, r"\[rows, tokens\], not of shape \[2\]"),
        ({"input_ids": 3}, r"\[rows, tokens\]"),
        ({"input_ids": [[[1]]]}, r"\[rows, tokens\], not of shape \[1, 1, 1\]"),
        ({"input_ids": np.zeros((0, 5), int)}, r"batch is empty.*\[0, 5\]"),
        ({"input_ids": np.zeros((3, 0), int)}, r"batch is empty.*\[3, 0\]"),
        ({"input_ids": [[]]}, "batch is empty"),
        ({"input_ids": [[1, 2], [3]]}, "input_ids is not a rectangular array: pad"),
        ({"input_ids": np.array([[1], [2, 3]], dtype=object)}, "input_ids is not a rectangular array: pad"),
        ({"input_ids": [[[1], [2, 3]]]}, "input_ids is not a rectangular array: pad"),
        ({"input_ids": [[1, None]]}, r"input_ids\[0, 1\] is None, not an integer"),
        ({"input_ids": [[1, 2], [3, object()]]}, r"input_ids\[1, 1\] is of type object, not an integer"),
        ({"input_ids": {"a": 1}}, "input_ids is of type dict, not an integer"),
        ({"input_ids": (number for number in (1, 2))}, "input_ids is of type generator, not an integer"),
        ({"input_ids": [[1, 2**70]]}, r"input_ids\[0, 1\] does not fit in int64"),
        ({"input_ids": [[1, -(2**70)]]}, r"input_ids\[0, 1\] does not fit in int64"),
        ({"input_ids": np.array([[1, 2**63]], dtype=np.uint64)}, r"input_ids\[0, 1\] does not fit in int64"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1, 2**70]]}, r"attention_mask\[0, 1\] does not fit in int64"),
        ({"input_ids": [[float("nan")]]}, "input_ids must hold integers, not float64"),
        ({"input_ids": OnAGpu()}, "input_ids cannot be read as an array: can't convert cuda:0 device type tensor"),
        ({"input_ids": [[1.0, 2.0]]}, "input_ids must hold integers, not float64"),
        ({"input_ids": [["a", "b"]]}, "input_ids must hold integers, not text"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1.0, 1.0]]}, "attention_mask must hold integers"),
        (
            {"input_ids": [[1, 2]], "attention_mask": [[1, 1, 1]]},
            r"attention_mask is of shape \[1, 3\].*\[1, 2\]",
        ),
        ({"input_ids": [[1, 2]], "attention_mask": [1, 1]}, "attention_mask is of shape"),
        ({"input_ids": [[1, 2]], "token_type_ids": [[0]]}, "token_type_ids is of shape"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1, 2]]}, "attention_mask must hold 0 and 1 only"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1, -1]]}, "attention_mask must hold 0 and 1 only"),
        ({"input_ids": [[1, 2], [1, 2]], "attention_mask": [[1, 1], [0, 0]]}, "row 1 is all padding"),
        ({"input_ids": [[1, 2, 3]], "attention_mask": [[1, 0, 1]]}, "row 0 has a hole"),
        ({"input_ids": [[1, 2], [1, 2]], "attention_mask": [[1, 1], [0, 1]]}, "row 1 has a hole"),
        ({"input_ids": [[1] * 2, [1] * 2], "attention_mask": [[0, 0], [0, 1]]}, "row 0 is all padding"),
        ({"input_ids": np.ones((2, 9), int)}, "row 0 has 9 tokens, the model takes 8"),
        ({"input_ids": [[1, 2], [1, 100]]}, r"input_ids\[1, 1\] is 100, but the vocabulary .* ends at 99"),
        ({"input_ids": [[1, -1]]}, r"input_ids\[0, 1\] is -1"),
        ({"input_ids": [[1, 2]], "token_type_ids": [[0, 2]]}, r"token_type_ids\[0, 1\] is 2.*ends at 1"),
        ({"input_ids": [[1, 2]], "token_type_ids": [[-1, 0]]}, r"token_type_ids\[0, 0\] is -1"),
    ],
)
def test_refusals_name_the_input_the_row_and_the_limit(inputs, words):
    with pytest.raises(InputError, match=words):
        check(**inputs)


def test_the_longest_row_is_the_one_named():
    mask = np.zeros((3, 12), int)
    for row, length in enumerate((4, 11, 9)):
        mask[row, :length] = 1
    with pytest.raises(InputError, match="row 1 has 11 tokens, the model takes 8") as caught:
        check(input_ids=np.ones((3, 12), int), attention_mask=mask)
    assert "truncat" in caught.value.hint


def test_the_limits_themselves_are_allowed():
    request = check(input_ids=np.full((1, 8), 99), token_type_ids=np.ones((1, 8), int))
    assert request.lengths.tolist() == [8]
    check(input_ids=[[0]])


# -- task inputs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS.names())
def test_each_task_needs_its_own_inputs_and_takes_no_other(name):
    task = TASKS.get(name)
    ids = [[[1, 2, 3]] * 2] if task.sequences_axis else [[1, 2, 3]]
    own = [one.name for one in task.inputs]
    for needed in own:
        with pytest.raises(InputError, match=f"needs {needed}"):
            check(name, input_ids=ids)
    for other in {"question_ends", "sentence_spans", "candidate_positions"} - set(own):
        with pytest.raises(InputError, match=f"takes no {other}") as caught:
            check(name, input_ids=ids, **{other: [1]})
        assert "input_ids" in caught.value.hint


def choice(ids=None, **inputs):
    ids = np.ones((2, 3, 4), int) if ids is None else ids
    return check(CHOICE, **{"input_ids": ids, "question_ends": [2, 4], **inputs})


def test_multiple_choice_rows_are_as_long_as_their_longest_option():
    mask = np.zeros((2, 3, 5), int)
    for row, lengths in enumerate(((2, 4, 1), (3, 3, 2))):
        for option, length in enumerate(lengths):
            mask[row, option, :length] = 1
    request = choice(np.ones((2, 3, 5), int), attention_mask=mask, question_ends=[4, 3])
    assert request.lengths.tolist() == [4, 3]
    assert request.sequences == 3
    assert request.width == 5
    assert request.arrays["input_ids"].shape == (2, 3, 4)
    assert request.take("attention_mask", np.array([1]), 3).tolist() == [[[1, 1, 1], [1, 1, 1], [1, 1, 0]]]
    assert request.take("question_ends", np.array([1]), 3).tolist() == [3]


@pytest.mark.parametrize("ends", [[0, 2], [2, 5], [-1, 2]])
def test_question_ends_out_of_range(ends):
    with pytest.raises(InputError, match=r"question_ends of row \d must be 1 to the row's length; the row has 4"):
        choice(question_ends=ends)


@pytest.mark.parametrize("ends", [[[2], [2]], [2], [2, 2, 2], 2])
def test_question_ends_of_another_shape(ends):
    with pytest.raises(InputError, match=r"question_ends must be \[rows\] with 2 rows"):
        choice(question_ends=ends)


def test_multiple_choice_needs_options():
    with pytest.raises(InputError, match=r"\[rows, options, tokens\], not of shape \[2, 4\]"):
        choice(np.ones((2, 4), int))


def test_an_option_that_is_all_padding_or_has_a_hole_is_named():
    mask = np.ones((2, 3, 4), int)
    mask[1, 2] = 0
    with pytest.raises(InputError, match=r"row 1 \(option 2\) is all padding"):
        choice(attention_mask=mask)
    mask[1, 2] = [1, 0, 1, 0]
    with pytest.raises(InputError, match=r"row 1 \(option 2\) has a hole"):
        choice(attention_mask=mask)


@pytest.mark.parametrize("token_id", [-7, 10**9])
def test_ids_outside_the_vocabulary_in_an_options_padding_count_as_zero(token_id):
    mask = np.ones((1, 2, 4), int)
    mask[0, 1, 2:] = 0
    ids = np.full((1, 2, 4), 5)
    ids[0, 1, 2:] = token_id
    request = choice(ids, attention_mask=mask, question_ends=[4])
    assert request.arrays["input_ids"].tolist() == [[[5, 5, 5, 5], [5, 5, 0, 0]]]


@pytest.mark.parametrize(
    ("task", "name", "good", "bad"),
    [
        (HOTPOT, "sentence_spans", [[[0, 1]], [[-1, -1]]], [[[0, 1]], [[0, 3]]]),
        (HOTPOT, "sentence_spans", [[[0, 1]], [[0, 2]]], [[[0, -2]], [[0, 2]]]),
        (WIKIHOP, "candidate_positions", [[0, 1, -1], [2, 2, 0]], [[0, 1, 2], [0, 3, 0]]),
        (WIKIHOP, "candidate_positions", [[0], [0]], [[-2], [0]]),
    ],
)
def test_positions_must_lie_in_their_own_row(task, name, good, bad):
    ids, mask = np.ones((2, 5), int), [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    request = check(task, input_ids=ids, attention_mask=mask, **{name: good})
    assert request.arrays[name].tolist() == good
    with pytest.raises(InputError, match=rf"{name} of row \d must be positions in the row \(-1: absent\)"):
        check(task, input_ids=ids, attention_mask=mask, **{name: bad})


@pytest.mark.parametrize("spans", [[[0, 1]], [[[0, 1, 2]]], [[[0, 1]], [[0, 1]]], [0]])
def test_sentence_spans_of_another_shape(spans):
    with pytest.raises(InputError, match=r"sentence_spans must be \[rows, sentences, 2\] with 1 rows"):
        check(HOTPOT, input_ids=[[1, 2, 3]], sentence_spans=spans)


@pytest.mark.parametrize("positions", [[0, 1], [[[0]]], [[0], [0]]])
def test_candidate_positions_of_another_shape(positions):
    with pytest.raises(InputError, match=r"candidate_positions must be \[rows, candidates\] with 1 rows"):
        check(WIKIHOP, input_ids=[[1, 2, 3]], candidate_positions=positions)


def test_no_sentences_at_all_is_a_batch():
    request = check(HOTPOT, input_ids=[[1, 2]], sentence_spans=np.zeros((1, 0, 2), int))
    assert request.arrays["sentence_spans"].shape == (1, 0, 2)


def test_every_refusal_is_a_value_error():
    with pytest.raises(ValueError, match="empty"):
        check(ANSWERING, input_ids=np.zeros((0, 1), int))
