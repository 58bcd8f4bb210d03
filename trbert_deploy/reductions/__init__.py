"""The reductions, a file each: how a token is scored, and what becomes of one that leaves.

The rule that all share: a token goes on where its score is not negative.
"""

from trbert_deploy.core.registry import Registry
from trbert_deploy.reductions.base import Reduction

__all__ = ["REDUCTIONS", "Reduction"]

REDUCTIONS: Registry[Reduction] = Registry(
    "reduction", "trbert_deploy.reductions", {"selector": "trbert_deploy.reductions.selector:REDUCTION"}
)
