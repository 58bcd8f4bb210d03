"""Small real data that ships with the package: movie reviews to calibrate with and others to evaluate on."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def calibration_file() -> Path:
    """300 IMDb training reviews, JSON lines with ``id``, ``text`` and ``label`` (1 positive, 0 negative)."""
    return _FOLDER / "imdb_calibration.jsonl"


def evaluation_file() -> Path:
    """400 IMDb test reviews, in the same form; none of them is in the calibration file."""
    return _FOLDER / "imdb_evaluation.jsonl"
