"""Fixtures: upstream's recorded cases; a test that takes `golden_name` runs for each."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
GOLDEN_NAMES = sorted(path.parent.name for path in GOLDEN.glob("*/cases.json"))

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class GoldenRow:
    """One row that upstream answered alone.

    Attributes:
        inputs: int64 arrays with a batch dimension of 1.
        outputs: upstream's float arrays, with a batch dimension of 1.
        kept: for each reduction that upstream ran, kept positions in the original row, ascending; None where
            upstream recorded none (its DistilBERT QA class).
        kept_fraction: kept tokens by the original length, for each reduction that ran, where recorded.
    """

    inputs: Arrays
    outputs: Arrays
    kept: list[list[int]] | None
    kept_fraction: list[float] | None


@dataclass(frozen=True)
class GoldenCase:
    """One of upstream's classes: its checkpoint, loaded, and its answers."""

    name: str
    folder: Path
    upstream_class: str
    model: Any
    rows: list[GoldenRow]


@functools.cache
def load_golden(name: str) -> GoldenCase:
    from trbert_deploy.checkpoint import load_checkpoint

    cases = json.loads((GOLDEN / name / "cases.json").read_text(encoding="utf-8"))
    rows = []
    for row in cases["rows"]:
        upstream = dict(row["upstream"])
        steps = upstream.pop("kept_indices_by_score")
        fraction = upstream.pop("kept_fraction", None)
        chained: list[list[int]] = []
        for step in steps:  # positions in the step's own input, which is ordered as the step before gathered it
            chained.append([chained[-1][position] for position in step] if chained else step)
        rows.append(
            GoldenRow(
                {key: np.asarray([value], dtype=np.int64) for key, value in row["input"].items()},
                {key: np.asarray([value]) for key, value in upstream.items()},
                [sorted(step) for step in chained] or None,
                fraction,
            )
        )
    model = load_checkpoint(GOLDEN / name).model
    return GoldenCase(name, GOLDEN / name, cases["upstream_class"], model, rows)


@pytest.fixture(scope="session")
def golden_names() -> list[str]:
    return GOLDEN_NAMES


@pytest.fixture(scope="session")
def golden() -> Callable[[str], GoldenCase]:
    """Loads upstream's case of that name; the model is shared, so tests must not change it."""
    return load_golden


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take `golden_name` run for each case."""
    if "golden_name" in metafunc.fixturenames:
        metafunc.parametrize("golden_name", GOLDEN_NAMES)
