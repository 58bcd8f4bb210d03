"""The rows that a check runs, and what the reference answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trbert_deploy.bundle.golden import Golden
from trbert_deploy.core.request import Request, check_request
from trbert_deploy.core.samples import random_batch
from trbert_deploy.core.specs import TaskSpec
from trbert_deploy.model.margin import selection_margins
from trbert_deploy.runtimes.base import Result
from trbert_deploy.runtimes.torch.reference import ReferenceRuntime

_BATCHES = ((7,), (1, 33), (64, 3, 17, 40, 64), (128, 90, 31))
_SEED = 1234


@dataclass(frozen=True)
class Expected:
    """A request with the reference's result.

    Attributes:
        request: the rows.
        result: what the reference gives for them.
        numbers: int64 [B], of the rows among all that are checked.
        margin: float32 [B], of each row's closest selection, see `selection_margins`.
    """

    request: Request
    result: Result
    numbers: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float32]


def check_requests(task: TaskSpec, golden: Golden) -> Iterator[Request]:
    """The golden batches, and random ones of mixed lengths up to the longest that the model takes."""
    for batch in golden.batches:
        yield check_request(task, batch.inputs)
    rng = np.random.default_rng(_SEED)
    for lengths in _BATCHES:
        capped = [min(length, task.max_length) for length in lengths]
        yield check_request(task, random_batch(task, capped, rng))
    longest = random_batch(task, [task.max_length, 2], rng)
    yield check_request(task, longest)


def expect(reference: ReferenceRuntime, requests: Sequence[Request]) -> list[Expected]:
    """What the reference answers."""
    expected = []
    first = 0
    for request in requests:
        output = reference.forward(request)
        closest = np.full(len(request), np.inf, dtype=np.float32)
        for margin in selection_margins(output):
            closest = np.minimum(closest, margin.numpy())
        numbers = np.arange(first, first + len(request))
        expected.append(Expected(request, reference.collect(request, output, want_kept=True), numbers, closest))
        first += len(request)
    return expected
