"""Replay a bundle's golden vectors on an engine: the engine proves itself on the machine where it serves."""

from __future__ import annotations

from dataclasses import dataclass, field

from trbert_deploy.bundle.golden import compare, read_golden
from trbert_deploy.engine import Engine


@dataclass(frozen=True)
class Verification:
    """What the replay found.

    Attributes:
        rows: how many golden rows were replayed.
        complaints: what differed from the reference; empty where the engine proved itself.
    """

    rows: int
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
    golden = read_golden(bundle.path(bundle.manifest.golden))
    complaints: list[str] = []
    rows = 0
    for batch in golden.batches:
        answer = engine.run(**batch.inputs, return_selection=True)
        rows += len(batch.inputs["input_ids"])
        complaints += compare(bundle.manifest.task_facts, batch, answer, golden.tolerance)
    return Verification(rows, complaints)
