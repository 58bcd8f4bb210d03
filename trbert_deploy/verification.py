"""Replay a bundle's golden vectors on an engine: the engine proves itself on the machine where it serves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from trbert_deploy.api import Engine, load
from trbert_deploy.bundle import Bundle
from trbert_deploy.bundle.golden import compare, read_golden
from trbert_deploy.runtimes.options import LoadOptions
from trbert_deploy.runtimes.registry import RUNTIMES


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


def verify_bundle(bundle: Bundle, options: LoadOptions) -> dict[str, Verification]:
    """Replay the golden vectors in every mode that the runtime is to be proved in.

    Args:
        bundle: whose.
        options: how to load it; the mode is not read.

    Returns:
        What was found, by the runtime's label, with the mode where there are several.

    Raises:
        TRBertError: the bundle does not run so here.
    """
    part = RUNTIMES.get(options.runtime)
    label = part.label(options.provider)
    modes = part.proved if options.provider is None else ("staged",)
    found = {}
    for mode in modes:
        with load(bundle, replace(options, mode=mode)) as engine:
            found[f"{label} {mode}" if len(modes) > 1 else label] = verify_engine(engine)
    return found


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
