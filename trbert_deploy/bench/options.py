"""What `bench` measures: declared once, for `run_bench`, for the command line and for the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from trbert_deploy.core.errors import TRBertError
from trbert_deploy.core.flags import flag, require_in_range
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.registry import targets

#: The modes that can be measured; dense is measured beside them.
BenchMode = Literal["staged", "fused"]

#: In `BenchOptions.beside`: every runtime that is there.
ALL = "all"


@dataclass(frozen=True)
class BenchOptions(LoadOptions):
    """What to measure, and how the bundle is loaded for it; the baselines run on the same device and threads.

    Attributes:
        mode: which graphs run: ``"staged"`` (a graph a stage) or ``"fused"`` (one graph); dense is measured anyway.
        data: JSON lines, for classification with text and label (class name or index). By default the movie reviews
            that ship with the package where the model takes a text, else random tokens.
        limit: use so many rows of the data at most.
        batch_sizes: rows of a batch; several as 1,32 or by repeating.
        lengths: time random rows of exactly so many tokens instead of the data's; several as 128,512 or by repeating.
        iterations: rounds that count; each times every backend once.
        warmup: rounds before them that do not count.
        seed: of what is drawn: single rows of the data, and random tokens.
        replay_selection: compare with PyTorch once more with PyTorch's kept sets: numeric error apart from flips.
        beside: measure the bundle on other runtimes in the same rounds; several with commas. One that is not there is
            left out with a note.
        max_accuracy_drop: exit with 1 where accuracy is further below dense's than this, in percentage points.
        min_speedup: exit with 1 where a workload's speed-up against dense in the same runtime (without it, against
            PyTorch) is smaller.
    """

    mode: BenchMode = "staged"
    data: Path | None = field(default=None, metadata=flag(metavar="FILE"))
    limit: int | None = field(default=None, metadata=flag(minimum=1))
    batch_sizes: tuple[int, ...] = field(default=(1, 32), metadata=flag("--batch-size", minimum=1))
    lengths: tuple[int, ...] = field(default=(), metadata=flag("--length", minimum=1))
    iterations: int = field(default=20, metadata=flag(minimum=1))
    warmup: int = field(default=3, metadata=flag(minimum=0))
    seed: int = field(default=2021, metadata=flag(minimum=0))
    replay_selection: bool = False
    beside: tuple[str, ...] = field(default=(), metadata=flag(metavar="RUNTIMES"))
    max_accuracy_drop: float | None = field(default=None, metadata=flag(metavar="POINTS"))
    min_speedup: float | None = field(default=None, metadata=flag(metavar="X"))

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            TRBertError: a number is out of range, or options do not go together.
        """
        require_in_range(self)
        if not self.batch_sizes:
            raise TRBertError("there is no batch size to measure", "--batch-size 1,32")
        if self.mode not in get_args(BenchMode):
            raise TRBertError(
                f"mode {self.mode!r} cannot be measured", "--mode staged or --mode fused; dense is measured anyway"
            )
        if unknown := [name for name in self.beside if name not in (*targets(), ALL)]:
            raise TRBertError(f"unknown runtime {unknown[0]!r}", f"--beside takes {', '.join(targets())}, or {ALL}")
        if self.replay_selection and (self.runtime == "torch" or self.mode != "staged"):
            raise TRBertError(
                "--replay-selection tells a bundle's stages which tokens to keep, and one graph or the reference "
                "itself cannot be told",
                "--runtime ort --mode staged",
            )
