"""Text to rows of token ids, with the bundle's tokenizer.

Only the `tokenizers` library is needed. What tokenizer.json stores of padding and truncation is not used: a
row is cut to the model's limit in `layout`, and padded to its batch's longest row in `collate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from tokenizers import Encoding, Tokenizer

from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.manifest import TokenizerFacts
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.request import IntArray
from trbert_deploy.core.specs import TaskSpec, TextSpec
from trbert_deploy.text.items import Item, Offsets, read_item
from trbert_deploy.text.layout import TokenSequence, lay_out
from trbert_deploy.text.rows import Row


class Piece(NamedTuple):
    """A token of a text: which word it belongs to, by number, and the characters [start, end) it stands for."""

    word: int
    start: int
    end: int


class BundleTokenizer:
    """Tokenizes items for a bundle's model; may be used from several threads at once.

    Args:
        folder: of the bundle.
        task: of the model.
        facts: what the manifest says of the tokenizer; without one items are token ids already.

    Raises:
        InputError: the bundle's tokenizer is not one of BERT's.
    """

    def __init__(self, folder: Path, task: TaskSpec, facts: TokenizerFacts | None) -> None:
        self._task = task
        self._folder = folder
        self._tokenizer: Tokenizer | None = None
        if facts is None:
            return
        self._room = min(facts.max_length, task.max_length)
        path = folder / facts.folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise InputError(f"{path} cannot be read: {error}", f"check it: trbert-deploy verify {folder}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        empty_pair = self._tokenizer.encode("", "").ids
        if len(empty_pair) != 3 or empty_pair[1] != empty_pair[2]:
            raise InputError(
                f"{path} does not lay out a pair as [CLS] A [SEP] B [SEP]",
                "export with the tokenizer the model was trained with, or give input_ids",
            )
        self._cls, self._sep, _ = empty_pair

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """The tokenizer of an open bundle."""
        return cls(bundle.folder, bundle.manifest.task, bundle.manifest.tokenizer)

    @property
    def ends(self) -> tuple[int, int] | None:
        """The ids of the tokens that a row begins and ends with; None where the bundle has no tokenizer."""
        return None if self._tokenizer is None else (self._cls, self._sep)

    def encode(self, items: Iterable[object]) -> list[Row]:
        """Tokenize items.

        Args:
            items: for each task what `trbert_deploy.text.items` lists.

        Raises:
            InputError: an item cannot be understood or does not fit the model; the message names it.
        """
        rows, failure = self.encode_until_failure(items)
        if failure is not None:
            raise failure
        return rows

    def encode_until_failure(self, items: Iterable[object], first: int = 0) -> tuple[list[Row], InputError | None]:
        """Tokenize items up to the first that cannot be.

        Args:
            items: see `encode`.
            first: the number of the first item in messages.

        Returns:
            The rows of the items before it, and its error.
        """
        read: list[Item] = []
        rows: list[Row] = []
        failure: InputError | None = None
        try:
            for number, item in enumerate(items, start=first):
                read.append(read_item(self._task, item, number))
        except InputError as error:
            failure = error
        try:
            encodings = iter(self._encodings([text for item in read for text in item.texts]))
            for item in read:
                rows.append(
                    self._row(item, {key: [next(encodings) for _ in texts] for key, texts in item.parts.items()})
                )
        except InputError as error:
            failure = error
        return rows, failure

    def pieces(self, texts: Sequence[str]) -> list[list[Piece]]:
        """The tokens of each text, in full length and without special tokens; words are numbered from 0.

        Raises:
            InputError: the bundle has no tokenizer.
        """
        return [
            [
                Piece(word, *characters)
                for word, characters in zip(encoding.word_ids, encoding.offsets, strict=True)
                if word is not None  # only special tokens have none
            ]
            for encoding in self._encodings(list(texts))
        ]

    def _encodings(self, texts: list[str]) -> list[Encoding]:
        """Tokens of each text, without special tokens and in full length."""
        if not texts:
            return []
        if self._tokenizer is None:
            raise InputError(
                f"the bundle {self._folder} has no tokenizer, so it cannot take text",
                "put tokenizer.json or vocab.txt beside the checkpoint and export again, or give input_ids",
            )
        return self._tokenizer.encode_batch(texts, add_special_tokens=False)

    def _row(self, item: Item, parts: Mapping[str, Sequence[Encoding]]) -> Row:
        if item.arrays:
            length = item.arrays["input_ids"].shape[-1]
            return Row(item.arrays, length, text=item.context, offsets=item.offsets, extras=item.extras, name=item.name)
        text = self._task.text
        assert text is not None
        ids = {key: [encoding.ids for encoding in encodings] for key, encodings in parts.items()}
        sequences = lay_out(text, ids, cls=self._cls, sep=self._sep, room=self._room, name=item.name)
        placed = {(one.key, one.member): one for sequence in sequences for one in sequence.placed}
        standing = [placed[key, member] for key, texts in item.parts.items() for member in range(len(texts))]
        arrays = self._arrays(sequences)
        for name, key in text.ends.items():
            arrays[name] = np.array(placed[key, 0].start + placed[key, 0].tokens, dtype=np.int64)
        return Row(
            arrays,
            arrays["input_ids"].shape[-1],
            text=item.parts[text.offsets][0] if text.offsets else None,
            offsets=_offsets(text, sequences[0], parts),
            choices=item.parts[text.each] if text.each else (),
            extras=item.extras,
            truncated=any(one.tokens < len(ids[one.key][one.member]) for one in standing),
            empty=any(not ids[one.key][one.member] or not item.parts[one.key][one.member].strip() for one in standing),
            texts=item.texts,
            places=tuple(range(one.start, one.start + one.tokens) for one in standing),
            name=item.name,
        )

    def _arrays(self, sequences: Sequence[TokenSequence]) -> dict[str, IntArray]:
        """Ids, mask and types of sequences: [N] each, in multiple choice [options, N].

        What else a task takes over tokens is filled in with its default.
        """
        width = max(len(sequence.ids) for sequence in sequences)
        arrays = {}
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            if (spec := self._task.input(name)) is not None:
                arrays[name] = np.full((len(sequences), width), spec.padding, dtype=np.int64)
        for place, sequence in enumerate(sequences):
            ones = [1] * len(sequence.ids)
            given = {"input_ids": sequence.ids, "attention_mask": ones, "token_type_ids": sequence.types}
            for name, array in arrays.items():
                array[place, : len(ones)] = given[name]
        return arrays if self._task.sequences_axis else {name: array[0] for name, array in arrays.items()}


def _offsets(text: TextSpec, sequence: TokenSequence, parts: Mapping[str, Sequence[Encoding]]) -> Offsets | None:
    """For each token the characters of the part that answers count in; None where there is no such part."""
    if text.offsets is None:
        return None
    offsets: Offsets = [None] * len(sequence.ids)
    for one in sequence.placed:
        if one.key == text.offsets:
            offsets[one.start : one.start + one.tokens] = parts[one.key][one.member].offsets[: one.tokens]
    return offsets
