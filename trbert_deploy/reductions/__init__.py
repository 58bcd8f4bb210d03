"""The reductions, a file each: how a token is scored, and what becomes of one that leaves.

The rule that all share: a token goes on where its score is not negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trbert_deploy.core.registry import Registry

if TYPE_CHECKING:
    from trbert_deploy.reductions.base import Reduction

__all__ = ["REDUCTIONS", "Reduction"]

REDUCTIONS: Registry[Reduction] = Registry(
    "reduction", "trbert_deploy.reductions", {"selector": "trbert_deploy.reductions.selector:REDUCTION"}
)


def __getattr__(name: str) -> object:
    """`Reduction` comes with torch, which who only reads the names does without."""
    if name != "Reduction":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trbert_deploy.reductions.base import Reduction

    return Reduction
