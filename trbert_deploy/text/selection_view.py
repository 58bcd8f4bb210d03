"""What a model's selectors did to a text: which of its words go on at each reduction, for people to look at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from trbert_deploy.core.request import IntArray
from trbert_deploy.text.rows import Row
from trbert_deploy.text.tokenizer import Piece

_UP_TO_SPACE = re.compile(r"\S*")


class Fate(IntEnum):
    """What became of a word; the fate of a word of several tokens is the highest of theirs."""

    UNREAD = 0
    DROPPED = 1
    KEPT = 2


@dataclass(frozen=True)
class Run:
    """Part of a text: words that follow one another and share a fate, or what stands between two such runs.

    Attributes:
        text: the words with what is between them.
        fate: of the words; None for what is between runs: spaces, mostly.
        words: how many there are.
    """

    text: str
    fate: Fate | None = None
    words: int = 0


@dataclass(frozen=True)
class Reduction:
    """What one reduction left of a row.

    Attributes:
        layer: before which tokens were dropped.
        kept: tokens that go on, special ones among them.
        tokens: of the row, before the first reduction.
        texts: the runs of each of the row's texts; together they are the text, to the character.
    """

    layer: int
    kept: int
    tokens: int
    texts: list[list[Run]]


def view(
    row: Row, pieces: Sequence[Sequence[Piece]], kept: Sequence[IntArray], layers: Sequence[int]
) -> list[Reduction]:
    """Lay the kept positions of a row over its texts.

    Args:
        row: an item of text.
        pieces: the tokens of each of its texts, in full length.
        kept: for each reduction the kept positions of the row, int64 [K].
        layers: before which the reductions are; not looked at where nothing is reduced.
    """
    return [
        Reduction(
            layer,
            len(positions),
            row.length,
            [
                runs(text, own, places, positions)
                for text, own, places in zip(row.texts, pieces, row.places, strict=True)
            ],
        )
        for layer, positions in zip(layers, kept, strict=False)  # mode dense keeps nothing, and drops nothing
    ]


def runs(text: str, pieces: Sequence[Piece], places: range, kept: IntArray) -> list[Run]:
    """Cut a text into words that were kept, dropped and not read.

    Args:
        text: in full length.
        pieces: its tokens, in full length.
        places: where the first of them stand in the row; the model read no more than these.
        kept: kept positions of the row, int64 [K].

    Returns:
        Runs that together are the text. A word is kept where any of its tokens is.
    """
    words = _words(text, pieces, _fates(len(pieces), places, kept))
    made: list[Run] = []
    at = 0
    for start, end, fate in words:
        between = text[at:start]
        if made and made[-1].fate == fate:
            last = made.pop()
            made.append(Run(last.text + between + text[start:end], fate, last.words + 1))
        else:
            made += [Run(between)] if between else []
            made.append(Run(text[start:end], fate, 1))
        at = end
    return made + ([Run(text[at:])] if text[at:] else [])


def _fates(tokens: int, places: range, kept: IntArray) -> Iterable[Fate]:
    going_on = set(kept.tolist())
    for number in range(tokens):
        if number >= len(places):
            yield Fate.UNREAD
        else:
            yield Fate.KEPT if places[number] in going_on else Fate.DROPPED


def _words(text: str, pieces: Sequence[Piece], fates: Iterable[Fate]) -> list[tuple[int, int, Fate]]:
    """The words' characters [start, end) and fates, in order, without overlap.

    A character that no token stands for, such as an accent that the tokenizer strips, is the word's before it.
    """
    words: dict[int, tuple[int, int, Fate]] = {}
    for piece, fate in zip(pieces, fates, strict=True):
        start, _, so_far = words.get(piece.word, (piece.start, 0, fate))
        words[piece.word] = (start, piece.end, max(so_far, fate))
    ordered = list(words.values())
    for place, (start, end, fate) in enumerate(ordered):
        following = ordered[place + 1][0] if place + 1 < len(ordered) else len(text)
        tail = _UP_TO_SPACE.match(text, end, max(end, following))
        assert tail is not None  # it matches nothing, too
        ordered[place] = (start, tail.end(), fate)
    return ordered
