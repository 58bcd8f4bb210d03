"""The trained model that ships with the package; its README.md is the model card."""

from __future__ import annotations

from pathlib import Path

#: What stands for it where a checkpoint is asked for.
NAME = "trbert-minilm-imdb"

FOLDER = Path(__file__).parent / NAME
