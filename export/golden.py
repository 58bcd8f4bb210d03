"""Make golden vectors: random rows whose selection does not hang on the last bits of a logit."""

from __future__ import annotations

import numpy as np

from trbert_deploy.bundle.golden import Golden, GoldenBatch
from trbert_deploy.bundle.precision import Tolerance
from trbert_deploy.core.request import Request, check_request
from trbert_deploy.core.samples import random_batch
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.model.margin import selection_margins
from trbert_deploy.runtimes.torch.reference import ReferenceRuntime

_LENGTHS = ((2, 5), (12, 20), (48, 64), (100, 128))
_CANDIDATES = 8  # rows tried for each length; the one with the widest margin is taken
_SEED = 2021


def make_golden(reference: ReferenceRuntime, tolerance: Tolerance) -> Golden:
    """Single rows of several lengths, and all of them together in one batch."""
    rng = np.random.default_rng(_SEED)
    task = reference.model.spec
    lengths = sorted({min(int(rng.integers(low, high + 1)), task.max_length) for low, high in _LENGTHS} | {1})
    rows = []
    for length in lengths:
        tried = [random_batch(task, [length], rng) for _ in range(_CANDIDATES if length > 1 else 1)]
        rows.append(max(tried, key=lambda inputs: _margin(reference, check_request(task, inputs))))
    width = max(lengths)
    together = {
        name: np.concatenate([_widened(task, row[name], name, width) for row in reversed(rows)]) for name in rows[0]
    }
    batches = [_answered(reference, inputs) for inputs in (*rows, together)]
    return Golden(tolerance=tolerance.outputs, max_flips=tolerance.flips, batches=batches)


def _margin(reference: ReferenceRuntime, request: Request) -> float:
    margins = selection_margins(reference.forward(request))
    return min((float(margin.min()) for margin in margins), default=np.inf)


def _widened(task: TaskSpec, array: np.ndarray, name: str, width: int) -> np.ndarray:
    spec = task.input(name)
    if spec is None or not spec.per_token:
        return array
    missing = width - array.shape[-1]
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], constant_values=spec.padding)


def _answered(reference: ReferenceRuntime, inputs: dict[str, np.ndarray]) -> GoldenBatch:
    result = reference.run(check_request(reference.model.spec, inputs), want_kept=True)
    assert result.kept is not None
    return GoldenBatch(
        inputs={name: array.tolist() for name, array in inputs.items()},
        kept=[[positions.tolist() for positions in rows] for rows in result.kept],
        outputs={name: array.tolist() for name, array in result.outputs.items()},
    )
