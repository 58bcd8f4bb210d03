"""Replay a bundle's golden vectors on an engine: the engine proves itself on the machine where it serves."""

from __future__ import annotations

from dataclasses import dataclass, field

from trbert_deploy.api import Engine
from trbert_deploy.bundle.golden import compare, read_golden


@dataclass(frozen=True)
class Verification:
    """What the replay found.

    Attributes:
        rows: how many golden rows were replayed.
        flipped: tokens at reductions that one keeps and the other drops; complained about where they are more than
            the bundle's precision allows.
        reached: tokens that reach the reductions.
        complaints: what differed from the reference; empty where the engine proved itself.
    """

    rows: int
    flipped: int = 0
    reached: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing differed."""
        return not self.complaints


def verify_engine(engine: Engine) -> Verification:
    """Replay the golden vectors.

    They prove the staged and fused modes and the PyTorch reference; a dense engine answers other numbers by design.
    """
    bundle = engine.bundle
    golden = read_golden(bundle)
    complaints: list[str] = []
    rows = flipped = reached = 0
    for batch in golden.batches:
        answer = engine.run(**batch.inputs, return_selection=True)
        rows += len(batch.inputs["input_ids"])
        found = compare(bundle.manifest.task, batch, answer, golden)
        complaints += found.complaints
        flipped += found.flipped
        reached += found.reached
    if golden.max_flips and flipped > golden.max_flips * reached:
        complaints.append(
            f"{flipped} of {reached} tokens at reductions are kept otherwise, more than {100 * golden.max_flips:g} %"
        )
    return Verification(rows, flipped, reached, complaints)
