"""Where the tokens of an item's parts stand in its row, and how many of them do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.specs import CLS, SEP, TextSpec


@dataclass(frozen=True)
class Placed:
    """The tokens of a part, or of one member of a part that is a list, in a row.

    Attributes:
        key: of the part.
        member: its number in the list; 0 where the part is a single text.
        tokens: the first of its tokens that stand there.
        start: where.
    """

    key: str
    member: int
    tokens: int
    start: int


@dataclass(frozen=True)
class TokenSequence:
    """One sequence of a row.

    Attributes:
        ids: token ids.
        types: token types, as many.
        placed: its parts.
    """

    ids: list[int]
    types: list[int]
    placed: list[Placed]


def lay_out(
    text: TextSpec, parts: Mapping[str, Sequence[Sequence[int]]], *, cls: int, sep: int, room: int, name: str
) -> list[TokenSequence]:
    """Put an item's tokens together.

    Args:
        text: how.
        parts: token ids of each text of each part, in full length and without special tokens.
        cls: id of ``<cls>``.
        sep: id of ``<sep>``.
        room: tokens of a sequence at most.
        name: of the item, in messages.

    Returns:
        A sequence, or one for each member of the part `TextSpec.each`.

    Raises:
        InputError: what is never cut leaves no room for what is.
    """
    segments = [
        segment
        for segment in text.segments
        if all(token in parts for token in segment.tokens if token not in (CLS, SEP))
    ]
    specials = sum(token in (CLS, SEP) for segment in segments for token in segment.tokens)
    kept = kept_tokens(text, parts, max(0, room - specials), name, room)
    members = len(parts[text.each]) if text.each is not None else 1
    made = []
    for member in range(members):
        sequence = TokenSequence([], [], [])
        for segment in segments:
            for token in segment.tokens:
                if token in (CLS, SEP):
                    ids: Sequence[int] = [cls if token == CLS else sep]
                else:
                    own = member if token == text.each else 0
                    ids = parts[token][own][: kept[token]]
                    sequence.placed.append(Placed(token, own, len(ids), len(sequence.ids)))
                sequence.ids.extend(ids)
                sequence.types.extend([segment.token_type] * len(ids))
        made.append(sequence)
    return made


def kept_tokens(
    text: TextSpec, parts: Mapping[str, Sequence[Sequence[int]]], free: int, name: str, room: int
) -> dict[str, int]:
    """How many tokens of each part stand in a row; a part that is a list counts with its longest member.

    Args:
        text: how parts are cut.
        parts: see `lay_out`.
        free: tokens beside the special ones.
        name: of the item, in messages.
        room: tokens of a sequence at most, for messages.

    Raises:
        InputError: see `lay_out`.
    """
    lengths = {key: max(len(ids) for ids in texts) for key, texts in parts.items()}
    if text.truncation == "longest_first":
        first, *second = lengths
        kept = longest_first(lengths[first], lengths[second[0]] if second else 0, free)
        return dict(zip(lengths, kept, strict=False))
    assert text.cut is not None
    uncut = {key: length for key, length in lengths.items() if key != text.cut}
    taken, wanted = sum(uncut.values()), lengths[text.cut]
    if uncut and free - taken < min(wanted, 1):
        what = " and ".join(f"longest {key.removesuffix('s')}" if key == text.each else key for key in uncut)
        raise InputError(
            f"{name}: its {what} take {taken} tokens, which leaves no room for the {text.cut} in a row of {room}",
            "shorten them",
        )
    return {**uncut, text.cut: min(wanted, max(0, free - taken))}


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of a pair are kept: the longer of the two is cut, in the end both to a half.

    The same numbers as the ``longest_first`` of Hugging Face's tokenizers.
    """
    if first + second <= room:
        return first, second
    shorter = min(first, second, room // 2)
    return (shorter, room - shorter) if first <= second else (room - shorter, shorter)
