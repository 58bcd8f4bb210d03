"""What a check of a bundle's graphs finds, and when a difference is an error."""

from __future__ import annotations

from dataclasses import dataclass, field

from trbert_deploy.bundle.golden import largest_difference
from trbert_deploy.bundle.precision import Tolerance
from trbert_deploy.core.errors import CheckFailedError
from trbert_deploy.runtimes.base import Array

#: What to do about a graph that is wrong: it is ours to mend.
REPORT = "nothing was written; please report it with the model's config.json and `trbert-deploy env`"


@dataclass
class CheckResult:
    """What the checks found.

    Attributes:
        rows: how many rows were compared with the reference.
        tolerance: of the bundle's precision.
        near_ties: numbers of those that kept another set where less than the tolerance's `near_tie` decided.
        worst: the largest difference of an output, by what was run.
        flips: tokens at reductions that one keeps and the other drops, and those that reach reductions, by what was
            run.
    """

    rows: int
    tolerance: Tolerance
    near_ties: set[int] = field(default_factory=set)
    worst: dict[str, float] = field(default_factory=dict)
    flips: dict[str, tuple[int, int]] = field(default_factory=dict)

    def compare(self, name: str, tensor: str, given: Array, wanted: Array) -> None:
        """Hold a tensor against the reference's.

        Args:
            name: what was run.
            tensor: its name, for the message.
            given: what it gave.
            wanted: what the reference gives.

        Raises:
            CheckFailedError: its shape is another, or it differs by more than the tolerance.
        """
        what = f"{name}: {tensor}"
        if given.shape != wanted.shape:
            raise CheckFailedError(f"{what} is of shape {list(given.shape)}, not {list(wanted.shape)}", REPORT)
        found = largest_difference(given, wanted)
        if not found <= self.tolerance.outputs:  # also where it is not a number
            raise CheckFailedError(
                f"{what} differs from the PyTorch reference by {found:.3g}, more than {self.tolerance.outputs:g}",
                REPORT,
            )
        self.worst[name] = max(self.worst.get(name, 0.0), found)
