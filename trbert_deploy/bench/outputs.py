"""What an engine answers to all rows of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trbert_deploy.api import Engine
from trbert_deploy.bench.workload import Dataset
from trbert_deploy.core.selection import Kept
from trbert_deploy.text.prediction import not_finite

_BATCH = 32

RowOutputs = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Outputs:
    """One backend's outputs for all rows.

    Attributes:
        rows: for each row its outputs by name, those over tokens cut to the row's length.
        kept: [reduction][row], kept original positions.
    """

    rows: list[RowOutputs]
    kept: Kept


def run_all(
    engine: Engine,
    dataset: Dataset,
    on_rows: Callable[[int], None] = lambda done: None,
    replay: Kept | None = None,
) -> Outputs:
    """Run every row once, rows of like lengths together.

    Args:
        engine: that runs them.
        dataset: the rows.
        on_rows: called after each batch with the number of rows done.
        replay: where given, for each reduction and row what it keeps, whatever the engine would.

    Raises:
        TRBertError: an output is not finite; the message names the row.
    """
    task, lengths = engine.manifest.task, dataset.lengths
    order = np.argsort(lengths, kind="stable")
    outputs: list[RowOutputs] = [{} for _ in order]
    kept: Kept = []
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        if replay is None:
            output = engine.run(**dataset.batch(rows), return_selection=True)
        else:
            output = engine.replay([[kept_rows[row] for row in rows] for kept_rows in replay], **dataset.batch(rows))
        kept = kept or [[np.empty(0, dtype=np.int64)] * len(order) for _ in output.selection or []]
        for place, row in enumerate(rows):
            for name, array in output.items():
                part = array[place]
                outputs[row][name] = part[: lengths[row]] if task.output(name).per_token else part
            for reduction, positions in enumerate(output.selection or []):
                kept[reduction][row] = positions[place]
            if failure := not_finite(f"row {row} of {dataset.name}, runtime {engine.runtime.name!r}", outputs[row]):
                raise failure
        on_rows(min(start + _BATCH, len(order)))
    return Outputs(outputs, kept)
