"""Which shapes TensorRT engines are made for, and which of them a batch is rounded up to: numbers only."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.grouping import group_rows

IntArray = npt.NDArray[np.int64]

#: What one more group costs on a GPU, in tokens. Not measured here: BERT-base on a V100 is reported to take 1.30 ms for
#: 8 tokens and 1.45 ms for 128, which is about a thousand tokens' worth of launching.
GPU_OVERHEAD_TOKENS = 1024


class ShapeBuckets(BaseModel):
    """The shapes that a bundle's engines are made for.

    Attributes:
        lengths: at the input, tokens of a row; ascending.
        kept: for each reduction, tokens that go on; ascending.
        rows: a group has so many rows at most.
        entries: along an axis that is the caller's own a row has so many at most: options, sentences, candidates.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    lengths: tuple[int, ...] = Field(min_length=1)
    kept: tuple[tuple[int, ...], ...]
    rows: int = Field(ge=1)
    entries: int = Field(ge=1, alias="items")  # as engine files spell it, see `tensorrt.engine_cache`

    def tokens(self, stage: int) -> tuple[int, ...]:
        """Numbers of tokens that a stage's layers run over."""
        return self.lengths if stage == 0 else self.kept[stage - 1]

    def group(self, stage: int, counts: IntArray, sequences: int) -> list[IntArray]:
        """Split rows into groups, counting what they are rounded up to; a `Group` of the pipeline."""
        return group_rows(
            round_up_counts(counts, self.tokens(stage)),
            sequences=sequences,
            overhead_tokens=GPU_OVERHEAD_TOKENS,
            max_rows=self.rows,
        )


def parse_buckets(text: str, max_length: int, reductions: int) -> tuple[tuple[int, ...], ...]:
    """``"128,512/64,256/32,128"``: buckets of lengths, then of each reduction's kept counts.

    One list alone serves for all.

    Raises:
        InputError: it is something else, or a bucket is not between 1 and `max_length`.
    """
    example = "/".join(["128,512", "64,256", "32,128", "16,64"][: reductions + 1])
    try:
        lists = [tuple(sorted({int(part) for part in one.split(",")})) for one in text.split("/")]
    except ValueError:
        raise InputError(f"{text!r} are no buckets", f"for example --buckets {example}") from None
    if len(lists) == 1:
        lists *= reductions + 1
    if len(lists) != reductions + 1:
        raise InputError(
            f"{len(lists)} lists of buckets do not fit: one for lengths and one for each of {reductions} reductions",
            f"for example --buckets {example}",
        )
    if wrong := [size for one in lists for size in one if not 1 <= size <= max_length]:
        raise InputError(f"the model takes 1 to {max_length} tokens, so {wrong[0]} is no bucket")
    return tuple(lists)


def quantile_buckets(counts: Sequence[int], largest: int) -> tuple[int, ...]:
    """Buckets at the 25th, 50th, 75th and 95th percentile, to the next multiple of 8, and `largest`.

    Args:
        counts: of real rows.
        largest: what a row can have at most; always a bucket, so that no row is beyond all of them.
    """
    marks = np.quantile(np.asarray(counts), [0.25, 0.5, 0.75, 0.95], method="inverted_cdf")
    rounded = {min(-(-int(mark) // 8) * 8, largest) for mark in marks}
    return tuple(sorted(rounded | {largest}))


def doubling_buckets(largest: int) -> tuple[int, ...]:
    """Buckets 32, 64, 128 ... and `largest`: for where there is no data to count."""
    sizes = [32 << step for step in range(16) if 32 << step < largest]
    return (*sizes, largest)


def round_up(size: int, buckets: Sequence[int]) -> int | None:
    """The smallest bucket that holds so many; None where none does."""
    place = bisect_left(buckets, size)
    return buckets[place] if place < len(buckets) else None


def round_up_counts(counts: IntArray, buckets: Sequence[int]) -> IntArray:
    """What each count is padded to; one beyond all buckets stays as it is."""
    places = np.searchsorted(buckets, counts)
    padded = np.append(np.asarray(buckets, dtype=np.int64), 0)[places]
    return np.where(places < len(buckets), padded, counts)


def round_up_rows(rows: int, largest: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24 ... or `largest`: at most a third of a group is padding."""
    step = 1
    while step < rows:
        if step % 2 == 0 and step * 3 // 2 >= rows:
            step = step * 3 // 2
            break
        step *= 2
    return min(step, largest)
