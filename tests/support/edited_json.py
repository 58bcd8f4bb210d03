"""Changes to the JSON of checkpoints and bundles."""

from __future__ import annotations

import json
from pathlib import Path


def edit_config(folder: Path, **changes: object) -> None:
    """Change entries of a checkpoint's configuration."""
    _edit(folder / "config.json", changes)


def edit_manifest(folder: Path, **changes: object) -> None:
    """Change entries of a bundle's manifest."""
    _edit(folder / "manifest.json", changes)


def _edit(file: Path, changes: dict[str, object]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
