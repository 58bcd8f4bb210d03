"""Where parts stand in a row, told by a specification alone."""

from __future__ import annotations

import pytest

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.specs import CLS, SEP, SegmentSpec, TextSpec
from trbert_deploy.text.layout import lay_out, longest_first

THREE = TextSpec(
    forms=(("title", "question", "body"), ("title", "body")),
    positional=(),
    segments=(
        SegmentSpec(0, (CLS, "title", SEP)),
        SegmentSpec(1, ("question", SEP)),
        SegmentSpec(0, ("body", SEP)),
    ),
    truncation="only",
    cut="body",
)


def lay(text, parts, room):
    return lay_out(text, parts, cls=101, sep=102, room=room, name="item 4")


def test_three_segments_stand_behind_one_another():
    (row,) = lay(THREE, {"title": [[1, 2]], "question": [[3]], "body": [[4, 5, 6]]}, room=20)
    assert row.ids == [101, 1, 2, 102, 3, 102, 4, 5, 6, 102]
    assert row.types == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0]
    assert [(one.key, one.member, one.tokens, one.start) for one in row.placed] == [
        ("title", 0, 2, 1),
        ("question", 0, 1, 4),
        ("body", 0, 3, 6),
    ]


def test_of_three_segments_only_what_may_be_cut_is():
    (row,) = lay(THREE, {"title": [[1, 2]], "question": [[3]], "body": [[4, 5, 6]]}, room=8)
    assert row.ids == [101, 1, 2, 102, 3, 102, 4, 102]
    assert row.types == [0, 0, 0, 0, 1, 1, 0, 0]
    with pytest.raises(InputError, match=r"item 4: its title and question take 3 tokens, .* room for the body .* of 7"):
        lay(THREE, {"title": [[1, 2]], "question": [[3]], "body": [[4, 5, 6]]}, room=7)


def test_a_segment_whose_part_an_item_lacks_is_left_out():
    (row,) = lay(THREE, {"title": [[1, 2]], "body": [[4, 5, 6]]}, room=8)
    assert row.ids == [101, 1, 2, 102, 4, 5, 6, 102]
    assert row.types == [0] * 8


def test_a_part_of_several_texts_makes_a_sequence_of_each():
    text = TextSpec(
        forms=(("stem", "endings"),),
        positional=(),
        segments=(SegmentSpec(0, (CLS, "stem")), SegmentSpec(1, ("endings", SEP))),
        truncation="only",
        cut="stem",
        each="endings",
    )
    rows = lay(text, {"stem": [[1, 2, 3]], "endings": [[7], [8, 9]]}, room=6)
    assert [row.ids for row in rows] == [[101, 1, 2, 7, 102], [101, 1, 2, 8, 9, 102]]  # cut alike for all
    assert [row.types for row in rows] == [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert [[(one.key, one.member) for one in row.placed] for row in rows] == [
        [("stem", 0), ("endings", 0)],
        [("stem", 0), ("endings", 1)],
    ]


@pytest.mark.parametrize(
    ("first", "second", "room", "kept"),
    [
        (3, 4, 7, (3, 4)),
        (3, 9, 8, (3, 5)),
        (9, 3, 8, (5, 3)),
        (9, 8, 7, (4, 3)),
        (8, 9, 7, (3, 4)),
        (9, 9, 7, (3, 4)),
        (0, 9, 4, (0, 4)),
        (5, 5, 0, (0, 0)),
    ],
)
def test_longest_first(first, second, room, kept):
    assert longest_first(first, second, room) == kept
