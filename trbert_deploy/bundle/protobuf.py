"""Protobuf's wire format, as far as ONNX files need it: a sequence of tagged fields that say how long they are."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of the content of each field of a message.

    Args:
        data: the file.
        start: of the message.
        end: of the message.

    Raises:
        ValueError: it is no message.
        IndexError: it goes on behind the file's end.
    """
    place = start
    while place < end:
        tag, place = varint(data, place)
        kind = tag & 7
        if kind == _LENGTH:
            size, place = varint(data, place)
        elif kind == _VARINT:
            size = varint(data, place)[1] - place
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of unknown kind {kind} at byte {place}")
        if place + size > end:
            raise ValueError(f"a field goes on behind the end at byte {end}")
        yield tag >> 3, place, place + size
        place += size


def varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    """An integer of up to 64 bits, and the place behind it.

    Raises:
        ValueError: it has more.
        IndexError: see `fields`.
    """
    value = shift = 0
    while shift < 64:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise ValueError(f"an integer of more than 64 bits at byte {place}")
