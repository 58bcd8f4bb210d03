"""Text to rows of token ids, with the bundle's tokenizer and BERT's layouts; and rows to a batch.

Only the `tokenizers` library is needed. What tokenizer.json stores of padding and truncation is not used: a
row is cut to the model's limit here, and padded to its batch's longest row in `collate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer

from trbert_deploy.bundle import Bundle
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.request import IntArray
from trbert_deploy.tasks import MULTIPLE_CHOICE, QUESTION_ANSWERING, SEQUENCE_CLASSIFICATION, Task
from trbert_deploy.text.items import Item, Offsets, read_item

_PADDING = {"sentence_spans": -1, "candidate_positions": -1}  # absent; tokens are padded with 0 and masked


class Piece(NamedTuple):
    """A token of a text: which word it belongs to, by number, and the characters [start, end) it stands for."""

    word: int
    start: int
    end: int


@dataclass(frozen=True)
class Row:
    """One item, tokenized.

    Attributes:
        arrays: int64 inputs by name, without the batch's axis: ``input_ids`` [N], in multiple choice
            [options, N], and so on; no padding but of shorter options.
        length: N, real tokens (in multiple choice of the longest option).
        text: what `offsets` count in: the context in question answering.
        offsets: for each token the characters [start, end) of `text` that it stands for; None for a token of
            something else. None altogether where nothing is answered token by token, or nothing is known.
        choices: the options' texts, in multiple choice of text.
        extras: what the item held beside its inputs, such as ``id`` and ``label``.
        truncated: whether tokens were left out to fit the model.
        texts: all of the item's, in the row's order, choices last; empty where it was given as token ids.
        places: for each of `texts` where its tokens stand in the row (a choice's: in its own option). Where
            there is no room for all, the text's first ones stand there.
    """

    arrays: dict[str, IntArray]
    length: int
    text: str | None = None
    offsets: Offsets | None = None
    choices: tuple[str, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
    truncated: bool = False
    texts: tuple[str, ...] = ()
    places: tuple[range, ...] = ()

    @property
    def options(self) -> int:
        """Sequences that the row stands for: the options in multiple choice, else one."""
        ids = self.arrays["input_ids"]
        return len(ids) if ids.ndim == 2 else 1


class BundleTokenizer:
    """Tokenizes items for a bundle's model; may be used from several threads at once.

    A bundle without a tokenizer takes items that are token ids already.

    Raises:
        InputError: the bundle's tokenizer is not one of BERT's.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._task = bundle.manifest.task_facts
        self._limits = bundle.manifest.limit_facts
        self._folder = bundle.folder
        self._tokenizer: Tokenizer | None = None
        facts = bundle.manifest.tokenizer
        if facts is None:
            return
        self._room = min(facts.max_length, self._limits.max_length)
        path = bundle.path(facts.folder) / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise InputError(
                f"{path} cannot be read: {error}", f"check it: trbert-deploy verify {bundle.folder}"
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        empty_pair = self._tokenizer.encode("", "").ids
        if len(empty_pair) != 3 or empty_pair[1] != empty_pair[2]:
            raise InputError(
                f"{path} does not lay out a pair as [CLS] A [SEP] B [SEP]",
                "export with the tokenizer the model was trained with, or give input_ids",
            )
        self._cls, self._sep, _ = empty_pair

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
                read.append(read_item(self._task, self._limits, item, number))
        except InputError as error:
            failure = error
        try:
            encodings = iter(self._encodings([text for item in read for text in item.texts]))
            for item in read:
                rows.append(self._row(item, [next(encodings) for _ in item.texts]))
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

    def _row(self, item: Item, parts: Sequence[Encoding]) -> Row:
        if item.arrays:
            return Row(
                item.arrays,
                item.arrays["input_ids"].shape[-1],
                text=item.context,
                offsets=item.offsets,
                extras=item.extras,
            )
        if self._task == MULTIPLE_CHOICE:
            return self._choice_row(item, parts)
        first, second = parts[0], parts[1] if len(parts) > 1 else None
        room = self._room - (2 if second is None else 3)
        lengths = (len(first), len(second) if second is not None else 0)
        if self._task == QUESTION_ANSWERING:
            fits = (lengths[0], self._rest(item, "question", lengths[0], lengths[1], room))
        else:
            fits = longest_first(*lengths, room)
        first_ids = [self._cls, *first.ids[: fits[0]], self._sep]
        second_ids = [*second.ids[: fits[1]], self._sep] if second is not None else []
        text, offsets = None, None
        if self._task == QUESTION_ANSWERING and second is not None:
            text = item.texts[1]
            offsets = [*[None] * len(first_ids), *second.offsets[: fits[1]], None]
        elif self._task != SEQUENCE_CLASSIFICATION:
            text = item.texts[0]
            offsets = [None, *first.offsets[: fits[0]], None]
        return Row(
            self._arrays([(first_ids, second_ids)]),
            len(first_ids) + len(second_ids),
            text=text,
            offsets=offsets,
            extras=item.extras,
            truncated=fits != lengths,
            texts=item.texts,
            places=(
                range(1, len(first_ids) - 1),
                range(len(first_ids), len(first_ids) + len(second_ids) - 1),
            )[: len(parts)],
        )

    def _choice_row(self, item: Item, parts: Sequence[Encoding]) -> Row:
        """[CLS] context [SEP] question choice [SEP], the context cut alike for all options.

        The options share one selection, so the question must end at one position. Source: upstream's
        run_mcrace.py, `convert_examples_to_features`.
        """
        context, question, choices = parts[0].ids, parts[1].ids, [part.ids for part in parts[2:]]
        longest = len(question) + max(len(choice) for choice in choices)
        kept = self._rest(item, "question and longest choice", longest, len(context), self._room - 3)
        first_ids = [self._cls, *context[:kept], self._sep]
        arrays = self._arrays([(first_ids, [*question, *choice, self._sep]) for choice in choices])
        question_end = len(first_ids) + len(question)
        arrays["question_ends"] = np.array(question_end, dtype=np.int64)
        return Row(
            arrays,
            arrays["input_ids"].shape[-1],
            choices=item.texts[2:],
            extras=item.extras,
            truncated=kept < len(context),
            texts=item.texts,
            places=(
                range(1, len(first_ids) - 1),
                range(len(first_ids), question_end),
                *(range(question_end, question_end + len(choice)) for choice in choices),
            ),
        )

    def _rest(self, item: Item, what: str, taken: int, wanted: int, room: int) -> int:
        """How many of the context's tokens fit beside what is never cut."""
        if room - taken < min(wanted, 1):
            raise InputError(
                f"{item.name}: its {what} take {taken} tokens, which leaves no room for the context in a row "
                f"of {self._room}",
                "shorten them",
            )
        return min(wanted, room - taken)

    def _arrays(self, sequences: Sequence[tuple[list[int], list[int]]]) -> dict[str, IntArray]:
        """Ids, mask and types of (first, second) segments: [N] each, in multiple choice [options, N]."""
        width = max(len(first) + len(second) for first, second in sequences)
        names = ["input_ids", "attention_mask"] + (["token_type_ids"] if self._limits.token_types else [])
        arrays = {name: np.zeros((len(sequences), width), dtype=np.int64) for name in names}
        for place, (first, second) in enumerate(sequences):
            length = len(first) + len(second)
            arrays["input_ids"][place, :length] = first + second
            arrays["attention_mask"][place, :length] = 1
            if self._limits.token_types:
                arrays["token_type_ids"][place, len(first) : length] = 1
        return arrays if self._task.multiple_choice else {name: array[0] for name, array in arrays.items()}


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of a pair are kept: the longer of the two is cut, in the end both to a half.

    The same numbers as the ``longest_first`` of Hugging Face's tokenizers.
    """
    if first + second <= room:
        return first, second
    shorter = min(first, second, room // 2)
    return (shorter, room - shorter) if first <= second else (room - shorter, shorter)


def collate(rows: Sequence[Row], task: Task) -> dict[str, IntArray]:
    """Pad rows on the right into arrays for `Engine.run`.

    Args:
        rows: at least one; in multiple choice all with the same number of options.
        task: of the model.

    Returns:
        int64 arrays by name: ``input_ids``, ``attention_mask`` and, for BERT, ``token_type_ids`` [B, N] or
        [B, options, N]; ``question_ends`` [B]; ``sentence_spans`` [B, S, 2] and ``candidate_positions``
        [B, C], padded with -1.

    Raises:
        InputError: there is no row, or rows have different numbers of options.
    """
    if not rows:
        raise InputError("there is no row to make a batch of", "give at least one item")
    if len({row.options for row in rows}) > 1:
        raise InputError(
            f"rows of a {task.name} batch have {sorted({row.options for row in rows})} options",
            "batch rows with the same number of options together",
        )
    batch = {}
    for name, first in rows[0].arrays.items():
        parts = [row.arrays[name] for row in rows]
        shape = [max(part.shape[axis] for part in parts) for axis in range(first.ndim)]
        whole = np.full([len(rows), *shape], _PADDING.get(name, 0), dtype=np.int64)
        for place, part in enumerate(parts):
            whole[place, ...][tuple(slice(size) for size in part.shape)] = part
        batch[name] = whole
    return batch
