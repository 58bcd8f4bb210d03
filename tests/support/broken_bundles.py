"""Bundles that are broken on purpose, and how the C++ library refuses them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: Codes of the C interface's errors.
INPUT, BUNDLE, DEVICE, CONFIGURATION = 1, 2, 3, 4


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change a bundle's manifest in place."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    edit(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def replace(folder: Path, name: str, content: bytes) -> None:
    """Write a file and have the manifest vouch for it."""
    (folder / name).write_bytes(content)
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit_manifest(folder, lambda manifest: manifest["files"].update({name: facts}))


def assert_refused(
    fresh_engine: Callable[..., Any],
    folder: Path,
    message: str,
    code: int = BUNDLE,
    mode: str = "staged",
    **options: Any,
) -> None:
    """A bundle is not loaded, with that code and words that match."""
    with pytest.raises(Exception, match=message) as caught:
        fresh_engine(folder, mode, **options)
    assert caught.value.code == code  # type: ignore[attr-defined]
