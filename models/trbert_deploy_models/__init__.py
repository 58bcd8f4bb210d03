"""Trained models for trbert-deploy: a folder each, with its weights, its tokenizer and its card, README.md."""

from __future__ import annotations

from pathlib import Path

#: The folder of every model, by the model's name.
FOLDERS: dict[str, Path] = {file.parent.name: file.parent for file in Path(__file__).parent.glob("*/config.json")}
