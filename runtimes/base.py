"""The contract between the engine and a runtime: a checked request in, an answer out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.request import Request
from trbert_deploy.core.selection import Kept, kept_positions
from trbert_deploy.core.specs import TaskSpec

Array = npt.NDArray[np.generic]


@dataclass
class Result:
    """What a runtime returns.

    Attributes:
        outputs: float32 arrays by name, rows in the request's order, as wide as the caller's rows.
        kept: where it was asked for, for each reduction and row the kept original positions, ascending.
        group_sizes: how many rows ran together at each stage, in the order in which they ran.
    """

    outputs: dict[str, npt.NDArray[np.float32]]
    kept: Kept | None = None
    group_sizes: list[list[int]] = field(default_factory=list)


class Runtime(Protocol):
    """Runs requests; may be called from several threads at once."""

    name: str
    device: str

    def run(self, request: Request, *, want_kept: bool, replay: Kept | None = None) -> Result:
        """Run a batch.

        Args:
            request: checked against the bundle this runtime was made for.
            want_kept: whether to return the kept positions too (they cost a copy from the device).
            replay: where given, for each reduction and row the original positions to keep whatever the selectors say,
                ascending, each among those of the reduction before.

        Raises:
            TRBertError: `replay` is given, and this runtime does not run stage by stage.
        """
        ...

    def close(self) -> None:
        """Let go of sessions and device memory; the runtime is not used afterwards."""
        ...


def refuse_replay(replay: Kept | None) -> None:
    """For runtimes that are not told between stages which tokens to keep; see `Runtime.run`."""
    if replay is not None:
        raise TRBertError(
            "one graph and the PyTorch reference cannot be told which tokens to keep, stages can",
            "use mode 'staged' of runtime 'ort' or 'trt'",
        )


class Collector:
    """Puts the outputs of groups of rows together into arrays over the whole batch.

    Args:
        request: the batch.
        num_reductions: of the model.
        want_kept: whether kept positions are wanted.
        full_length: whether keep masks are over original positions, see `ReductionSpec`.
    """

    def __init__(self, request: Request, num_reductions: int, want_kept: bool, *, full_length: bool) -> None:
        self._task: TaskSpec = request.task
        self._full_length = full_length
        self._size = len(request)
        self._width = request.width
        self._outputs: dict[str, npt.NDArray[np.float32]] = {}
        empty = np.empty(0, dtype=np.int64)
        self.kept: Kept | None = [[empty] * self._size for _ in range(num_reductions)] if want_kept else None

    def add(self, rows: npt.NDArray[np.int64], outputs: dict[str, Array]) -> None:
        """Take the outputs of these rows."""
        for name, part in outputs.items():
            output = self._task.output(name)
            shape = [self._size, *part.shape[1:]]
            if output.per_token:
                shape[1] = self._width
            if name not in self._outputs:
                self._outputs[name] = np.full(shape, output.padding, dtype=np.float32)
            whole = self._outputs[name]
            if output.per_token:
                whole[rows, : part.shape[1]] = part
            else:
                whole[rows] = part

    def add_kept(self, rows: npt.NDArray[np.int64], keep_masks: Sequence[npt.NDArray[np.int64]]) -> None:
        """Take the keep masks [b, M] of these rows, one a reduction, as positions in the original rows."""
        assert self.kept is not None
        for place, row in enumerate(rows):
            chain = kept_positions([mask[place] for mask in keep_masks], self._full_length)
            for reduction, positions in enumerate(chain):
                self.kept[reduction][row] = positions

    def result(self, group_sizes: list[list[int]]) -> Result:
        """All rows together."""
        return Result(self._outputs, self.kept, group_sizes)
