"""Items in, answers out: tokenized, batched by length, run, decoded; in windows, which bounds the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np

from trbert_deploy.bundle import Manifest
from trbert_deploy.core.errors import InputError, TRBertError
from trbert_deploy.core.output import EngineOutput
from trbert_deploy.core.request import IntArray
from trbert_deploy.text.decoding import Prediction, decode
from trbert_deploy.text.rows import Row, collate
from trbert_deploy.text.spans import FloatArray
from trbert_deploy.text.tokenizer import BundleTokenizer

#: Batches that are read, sorted by length and answered at a time.
WINDOW_BATCHES = 64


class Predictor(Protocol):
    """What answers: `trbert_deploy.Engine`."""

    @property
    def manifest(self) -> Manifest:
        """Of its bundle."""
        ...

    @property
    def tokenizer(self) -> BundleTokenizer:
        """Of its bundle."""
        ...

    def run(self, *, return_selection: bool = False, **inputs: Any) -> EngineOutput:
        """Answer a batch."""
        ...


class Predicted(NamedTuple):
    """An item's prediction, and how it came about.

    Attributes:
        row: what was asked.
        prediction: see `predict`.
        kept: for each reduction the kept positions of the row, int64 [K], ascending.
    """

    row: Row
    prediction: Prediction
    kept: list[IntArray]


def predict(
    engine: Predictor,
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
        kept; ``truncated`` (true) where the text was cut to fit the model; ``empty`` (true) where one of the item's
        texts says nothing, see `Row`.

    Raises:
        InputError: an item cannot be read, understood or fitted. All items before it have been answered. Or
            `batch_size` is no number of rows.
        TRBertError: the model's output for an item is not finite; likewise.
    """
    for predicted in predict_rows(engine, items, batch_size=batch_size, on_progress=on_progress):
        yield predicted.prediction


def predict_rows(
    engine: Predictor,
    items: Iterable[object],
    *,
    batch_size: int = 32,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[Predicted]:
    """As `predict`, with each answer's row and kept positions."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise InputError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    tokenizer = engine.tokenizer
    source, size, done = iter(items), batch_size * WINDOW_BATCHES, 0
    while True:
        window, broken = _take(source, size)
        rows, misunderstood = tokenizer.encode_until_failure(window, first=done)
        yield from _predict(engine, rows, batch_size, on_progress)
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


def _predict(
    engine: Predictor, rows: list[Row], batch_size: int, on_progress: Callable[[int], None] | None
) -> Iterator[Predicted]:
    found: dict[int, Predicted | TRBertError] = {}
    for batch in _batches(rows, batch_size):
        for place, predicted in zip(batch, _run(engine, [rows[place] for place in batch]), strict=True):
            found[place] = predicted
        if on_progress is not None:
            on_progress(len(batch))
    for place in range(len(rows)):
        predicted = found[place]
        if isinstance(predicted, TRBertError):
            raise predicted
        yield predicted


def _batches(rows: list[Row], batch_size: int) -> Iterator[list[int]]:
    """Row numbers, sorted by length; rows of a batch have equally many options."""
    order = sorted(range(len(rows)), key=lambda place: (rows[place].sequences, rows[place].length))
    batch: list[int] = []
    for place in order:
        if len(batch) == batch_size or (batch and rows[batch[0]].sequences != rows[place].sequences):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _run(engine: Predictor, rows: list[Row]) -> Iterator[Predicted | TRBertError]:
    """For each row what was predicted, or why nothing can be."""
    task, labels = engine.manifest.task, engine.manifest.model.labels
    output = engine.run(return_selection=True, **collate(rows, task))
    for place, row in enumerate(rows):
        outputs = {name: array[place] for name, array in output.items()}
        if failure := not_finite(row.name, outputs):
            yield failure
            continue
        prediction = decode(task, labels, row, outputs)
        if "id" in row.extras:
            prediction = {"id": row.extras["id"], **prediction}
        prediction["token_count"] = row.length
        kept = [positions[place] for positions in output.selection or []]
        prediction["kept"] = [len(positions) for positions in kept]
        if row.truncated:
            prediction["truncated"] = True
        if row.empty:
            prediction["empty"] = True
        yield Predicted(row, prediction, kept)


def not_finite(name: str, outputs: Mapping[str, FloatArray]) -> TRBertError | None:
    """The error of a row with an output that is not finite, which no prediction can be made of; None where all are.

    Args:
        name: of the row, for the message.
        outputs: of the row, by name.
    """
    broken = [output for output, array in outputs.items() if not np.isfinite(array).all()]
    if not broken:
        return None
    return TRBertError(
        f"{name}: the model's output {', '.join(broken)} is not finite",
        "check the bundle on this machine: trbert-deploy verify BUNDLE; where it is float16, export it in fp32",
    )
