"""Honest numbers: a bundle against PyTorch and against dense BERT, speed and accuracy side by side."""

from trbert_deploy.bench.report import Report
from trbert_deploy.bench.runner import BenchOptions, run_bench

__all__ = ["BenchOptions", "Report", "run_bench"]
