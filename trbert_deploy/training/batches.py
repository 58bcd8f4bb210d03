"""Rows as token ids, and the batches of like lengths that each step takes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trbert_deploy.core.errors import InputError
from trbert_deploy.training.data import Examples

_POOL = 64  # batches whose rows are sorted by length together
_TOKENIZED = 1000  # rows at a time
_WIDTH = 16  # batches are padded to a multiple of it: matrix kernels are compiled and tuned for each new shape


@dataclass(frozen=True)
class Batch:
    """Rows of a step, padded to the longest of them.

    Attributes:
        input_ids: int64 [B, N].
        attention_mask: int64 [B, N], real tokens first.
        token_type_ids: int64 [B, N].
        labels: int64 [B].
        rows: int64 [B], their numbers in the data set.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    labels: Tensor
    rows: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What the model reads."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "token_type_ids": self.token_type_ids,
        }

    def __len__(self) -> int:
        return len(self.labels)


class TokenizedExamples:
    """Examples as token ids, ready to be cut into batches.

    Attributes:
        labels: int64 [rows].
        lengths: int64 [rows], real tokens.
        largest_id: of all tokens.
        has_second: whether any token is of the second token type.
    """

    def __init__(self, examples: Examples, tokenizer: Any, max_length: int) -> None:
        self.labels = examples.labels
        self._max_length = max_length
        self._ids = [np.zeros(0, dtype=np.int32)] * len(examples)
        self._second = [0] * len(examples)  # where the pair's tokens begin
        for parts in (1, 2):
            numbers = [number for number, row in enumerate(examples.texts) if len(row) == parts]
            for some in (numbers[start : start + _TOKENIZED] for start in range(0, len(numbers), _TOKENIZED)):
                texts = (list(column) for column in zip(*(examples.texts[number] for number in some), strict=True))
                encoded = tokenizer(*texts, truncation=True, max_length=max_length, return_token_type_ids=True)
                for number, ids, types in zip(some, encoded["input_ids"], encoded["token_type_ids"], strict=True):
                    self._ids[number] = np.asarray(ids, dtype=np.int32)
                    self._second[number] = len(types) - sum(types)
        self.lengths = np.array([len(ids) for ids in self._ids], dtype=np.int64)
        self.largest_id = max(int(ids.max(initial=0)) for ids in self._ids)
        self.has_second = bool((self.lengths > self._second).any())

    def __len__(self) -> int:
        return len(self._ids)

    def first(self, count: int) -> TokenizedExamples:
        """The first rows, so many at most."""
        some = copy.copy(self)
        some.labels, some.lengths = self.labels[:count], self.lengths[:count]
        some._ids, some._second = self._ids[:count], self._second[:count]
        return some

    def batch(self, rows: npt.NDArray[np.int64]) -> Batch:
        """These rows together."""
        width = min(-(-int(self.lengths[rows].max()) // _WIDTH) * _WIDTH, self._max_length)
        ids = np.zeros((len(rows), width), dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for place, row in enumerate(rows):
            length = int(self.lengths[row])
            ids[place, :length] = self._ids[row]
            mask[place, :length] = 1
            types[place, self._second[row] : length] = 1
        arrays = (ids, mask, types, self.labels[rows], rows)
        return Batch(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every row once, the longest first."""
        order = np.argsort(-self.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            yield self.batch(order[start : start + batch_size])


class BatchSampler:
    """Which rows each step of a phase takes: epochs in random order, rows of like lengths together.

    The same for the same seed, whatever happened before: a resumed run sees the batches it would have seen.
    """

    def __init__(self, lengths: npt.NDArray[np.int64], batch_size: int, epochs: float, seed: int) -> None:
        if len(lengths) < batch_size:
            raise InputError(f"{len(lengths)} rows do not fill a batch of {batch_size}", "give a smaller batch size")
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        self._per_epoch = len(lengths) // batch_size
        self._epoch, self._batches = -1, [np.zeros(0, dtype=np.int64)]
        self.steps = max(1, round(self._per_epoch * epochs))

    def rows(self, step: int) -> npt.NDArray[np.int64]:
        """Row numbers of a step, 0 to `steps` - 1."""
        epoch, place = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        return self._batches[place]

    def _shuffled(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        random = np.random.default_rng((self._seed, epoch))
        order = random.permutation(len(self._lengths))[: self._per_epoch * self._batch_size]
        batches = []
        for start in range(0, len(order), _POOL * self._batch_size):
            pool = order[start : start + _POOL * self._batch_size]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches += np.split(pool, len(pool) // self._batch_size)
        return [batches[place] for place in random.permutation(len(batches))]
