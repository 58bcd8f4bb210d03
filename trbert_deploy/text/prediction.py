"""Items in, answers out: tokenized, batched by length, run, decoded; in windows, which bounds the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.request import IntArray
from trbert_deploy.text.decoding import decode
from trbert_deploy.text.tokenization import Row, collate

if TYPE_CHECKING:
    from trbert_deploy.api import Engine

#: Batches that are read, sorted by length and answered at a time.
WINDOW_BATCHES = 64


class Answered(NamedTuple):
    """An item's answer, and how it came about.

    Attributes:
        row: what was asked.
        answer: see `predict`.
        kept: for each reduction the kept positions of the row, int64 [K], ascending.
    """

    row: Row
    answer: dict[str, Any]
    kept: list[IntArray]


def predict(
    engine: Engine,
    items: Iterable[object],
    *,
    batch_size: int = 32,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Answer items, as many as there are: a stream is read `WINDOW_BATCHES` batches at a time.

    Args:
        engine: the model on a runtime.
        items: what `trbert_deploy.text.items` lists for the model's task.
        batch_size: rows that run together, of similar lengths.
        on_progress: is given the number of rows of every batch that is done.

    Yields:
        For each item, in order, a dict for JSON: the item's ``id`` where it has one; the answer, see
        `trbert_deploy.text.decoding`; ``token_count``, of the row, and ``kept``, how many of them each reduction
        kept; ``truncated`` (true) where the text was cut to fit the model.

    Raises:
        InputError: an item cannot be read, understood or fitted. All items before it have been answered.
    """
    for answered in predict_rows(engine, items, batch_size=batch_size, on_progress=on_progress):
        yield answered.answer


def predict_rows(
    engine: Engine,
    items: Iterable[object],
    *,
    batch_size: int = 32,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[Answered]:
    """As `predict`, with each answer's row and kept positions."""
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
    tokenizer = engine.tokenizer
    source, size, done = iter(items), batch_size * WINDOW_BATCHES, 0
    while True:
        window, broken = _take(source, size)
        rows, misunderstood = tokenizer.encode_until_failure(window, first=done)
        yield from _answer(engine, rows, batch_size, on_progress)
        if failure := misunderstood or broken:
            raise failure
        if len(window) < size:
            return
        done += len(window)


def _take(source: Iterator[object], size: int) -> tuple[list[object], Exception | None]:
    """The next items, and what stopped the source, so that those before it are still answered."""
    window: list[object] = []
    try:
        for item in islice(source, size):
            window.append(item)  # not `extend`, which promises nothing about what it took before an error
    except Exception as error:  # the source is the caller's
        return window, error
    return window, None


def _answer(
    engine: Engine, rows: list[Row], batch_size: int, on_progress: Callable[[int], None] | None
) -> Iterator[Answered]:
    answers: dict[int, Answered] = {}
    for batch in _batches(rows, batch_size):
        for place, answer in zip(batch, _run(engine, [rows[place] for place in batch]), strict=True):
            answers[place] = answer
        if on_progress is not None:
            on_progress(len(batch))
    for place in range(len(rows)):
        yield answers[place]


def _batches(rows: list[Row], batch_size: int) -> Iterator[list[int]]:
    """Row numbers, sorted by length; rows of a batch have equally many options."""
    order = sorted(range(len(rows)), key=lambda place: (rows[place].options, rows[place].length))
    batch: list[int] = []
    for place in order:
        if len(batch) == batch_size or (batch and rows[batch[0]].options != rows[place].options):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _run(engine: Engine, rows: list[Row]) -> Iterator[Answered]:
    task, labels = engine.manifest.task_facts, engine.manifest.model.labels
    output = engine.run(return_selection=True, **collate(rows, task))
    for place, row in enumerate(rows):
        answer = decode(task, labels, row, {name: array[place] for name, array in output.items()})
        if "id" in row.extras:
            answer = {"id": row.extras["id"], **answer}
        answer["token_count"] = row.length
        kept = [positions[place] for positions in output.selection or []]
        answer["kept"] = [len(positions) for positions in kept]
        if row.truncated:
            answer["truncated"] = True
        yield Answered(row, answer, kept)
