"""Honest numbers: a bundle against PyTorch and against dense BERT, speed and accuracy side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trbert_deploy.core.lazy import imported_at_first_use

if TYPE_CHECKING:
    from trbert_deploy.bench.options import BenchOptions
    from trbert_deploy.bench.report import Report
    from trbert_deploy.bench.runner import run_bench

__all__ = ["BenchOptions", "Report", "run_bench"]

__getattr__ = imported_at_first_use(__name__, {"BenchOptions": "options", "Report": "report", "run_bench": "runner"})
